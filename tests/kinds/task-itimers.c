/* SPDX-License-Identifier: Apache-2.0 */
/* Interval timers: the three clocks, with and without an interval, one that fires after
 * the restore. */
#include "kind.h"
#include <sys/time.h>

static volatile int alarms;

static void on_alarm(int sig)
{
	alarms++;
}

static int far(void *arg)
{
	static const long value[3] = { 5000, 6000, 7000 }, interval[3] = { 11, 0, 13 };
	struct itimerval it = { 0 };

	for (int i = 0; i < 3; i++) {
		it.it_value = (struct timeval){ value[i], 250000 };
		it.it_interval = (struct timeval){ interval[i], 500000 };
		CHECK(!setitimer(i, &it, NULL));
	}
	*(volatile int *)arg = 1;
	kind_wait();
	for (int i = 0; i < 3; i++) {
		CHECK(!getitimer(i, &it));
		if (it.it_value.tv_sec > value[i] || it.it_value.tv_sec < value[i] - 60)
			kind_fail("timer %d has %ld s left of %ld", i, it.it_value.tv_sec, value[i]);
		CHECK_EQ(it.it_interval.tv_sec, interval[i]);
		CHECK_EQ(it.it_interval.tv_usec, 500000);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct itimerval it = { .it_value = { 0, 700000 }, .it_interval = { 0, 50000 } };
	volatile int *ready;
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	pid_t pid;

	kind_init(argc, argv);
	ready = kind_shared(4096);
	pid = kind_fork(far, (void *)ready);
	kind_until(ready, 1);
	CHECK(!sigaction(SIGALRM, &sa, NULL));
	CHECK(!setitimer(ITIMER_REAL, &it, NULL));
	kind_busy(); /* signals come and go */
	kind_ready();
	for (int i = 0; alarms < 5; i++) {
		CHECK(i < 5000);
		kind_sleep_ms(2);
	}
	CHECK(!getitimer(ITIMER_REAL, &it));
	CHECK_EQ(it.it_interval.tv_usec, 50000);
	kind_join(pid);
	kind_pass();
}
