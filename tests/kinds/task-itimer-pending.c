/* SPDX-License-Identifier: Apache-2.0 */
/* An interval timer whose signal is queued, blocked: the kernel has stopped the timer
 * until the signal is taken, and then it goes on. */
#include "kind.h"
#include <sys/time.h>

static volatile int alarms;

static void on_alarm(int sig)
{
	alarms++;
}

int main(int argc, char **argv)
{
	struct itimerval it = { .it_value = { 0, 20000 }, .it_interval = { 0, 20000 } };
	sigset_t set, pending;

	kind_init(argc, argv);
	CHECK(signal(SIGALRM, on_alarm) != SIG_ERR);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	CHECK(!setitimer(ITIMER_REAL, &it, NULL));
	do {
		kind_sleep_ms(1);
		CHECK(!sigpending(&pending));
	} while (!sigismember(&pending, SIGALRM));
	kind_ready();
	CHECK(!sigpending(&pending) && sigismember(&pending, SIGALRM));
	CHECK_EQ(alarms, 0);
	CHECK(!sigprocmask(SIG_UNBLOCK, &set, NULL));
	for (int i = 0; alarms < 4; i++) {
		CHECK(i < 5000);
		kind_sleep_ms(1);
	}
	kind_pass();
}
