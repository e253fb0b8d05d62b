/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks through the vdso go on working after the restore, and never go back. */
#include "kind.h"
#include <sys/time.h>

int main(int argc, char **argv)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME,
	                                    CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE };
	struct timespec before[5], now, real;
	unsigned cpu;

	kind_init(argc, argv);
	for (int i = 0; i < 5; i++)
		CHECK(!clock_gettime(clocks[i], &before[i]));
	kind_ready();
	for (int i = 0; i < 5; i++) {
		CHECK(!clock_gettime(clocks[i], &now));
		CHECK(now.tv_sec > before[i].tv_sec ||
		      (now.tv_sec == before[i].tv_sec && now.tv_nsec >= before[i].tv_nsec));
		CHECK(!syscall(SYS_clock_gettime, clocks[i], &real));
		CHECK(real.tv_sec - now.tv_sec < 2);
	}
	CHECK(time(NULL) - before[0].tv_sec < 300);
	CHECK(!syscall(SYS_getcpu, &cpu, NULL, NULL));
	kind_pass();
}
