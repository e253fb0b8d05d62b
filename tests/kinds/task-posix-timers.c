/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX timers: ids (with gaps), clocks, ways of notification, time left, interval;
 * armed, disarmed, and two that fire after the restore. */
#include "kind.h"
#include <pthread.h>
#include <sys/ucontext.h>

typedef int kernel_timer; /* glibc's timer_t is not the kernel's id */

static volatile int fired, fired_value;
static volatile pid_t fired_tid;

static void on_timer(int sig, siginfo_t *info, void *context)
{
	fired_value = info->si_value.sival_int;
	fired_tid = gettid();
	fired++;
}

static kernel_timer make(clockid_t clock, int notify, int sig, int value, pid_t tid)
{
	struct sigevent ev;
	kernel_timer id = -1;

	memset(&ev, 0, sizeof(ev));
	ev.sigev_notify = notify;
	ev.sigev_signo = sig;
	ev.sigev_value.sival_int = value;
	ev._sigev_un._tid = tid;
	CHECK(!syscall(SYS_timer_create, clock, &ev, &id));
	return id;
}

static void arm(kernel_timer id, double value, double interval)
{
	struct itimerspec it = {
		.it_value = { (time_t)value, (long)((value - (double)(time_t)value) * 1e9) },
		.it_interval = { (time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9) },
	};

	CHECK(!syscall(SYS_timer_settime, id, 0, &it, NULL));
}

static void check(kernel_timer id, long value, long interval)
{
	struct itimerspec it;

	CHECK(!syscall(SYS_timer_gettime, id, &it));
	if (it.it_value.tv_sec > value || it.it_value.tv_sec < value - 60)
		kind_fail("timer %d has %ld s left of %ld", id, it.it_value.tv_sec, value);
	CHECK_EQ(it.it_interval.tv_sec, interval);
}

static void *thread(void *arg)
{
	*(volatile pid_t *)arg = gettid();
	kind_wait();
	for (int i = 0; i < 5000 && !kind_status(0, "Name")[0]; i++)
		;
	while (fired < 2)
		kind_sleep_ms(1);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART };
	volatile pid_t tid = 0;
	kernel_timer t[8];
	struct itimerspec it;
	pthread_t th;

	kind_init(argc, argv);
	CHECK(!sigaction(SIGRTMIN + 1, &sa, NULL));
	CHECK(!pthread_create(&th, NULL, thread, (void *)&tid));
	while (!tid)
		kind_sleep_ms(1);
	t[0] = make(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 1, 10, 0);
	t[1] = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 11, 0);
	t[2] = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 12, 0);
	CHECK(!syscall(SYS_timer_delete, t[2]));
	t[3] = make(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGUSR1, 13, 0);
	t[4] = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 14, 0);
	t[5] = make(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 1, 15, tid);
	for (int i = 0; i < 40; i++) /* a wide gap */
		CHECK(!syscall(SYS_timer_delete, make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0)));
	t[6] = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 16, 0);
	arm(t[0], 5000, 7);
	arm(t[1], 6000, 8);
	arm(t[3], 7000, 0);
	arm(t[4], 8000, 9);
	arm(t[5], 0.6, 0.1);
	kind_busy(); /* signals come and go */
	kind_ready();
	check(t[0], 5000, 7);
	check(t[1], 6000, 8);
	check(t[3], 7000, 0);
	check(t[4], 8000, 9);
	CHECK(!syscall(SYS_timer_gettime, t[6], &it));
	CHECK(!it.it_value.tv_sec && !it.it_value.tv_nsec);
	CHECK(syscall(SYS_timer_gettime, t[2], &it) < 0 && errno == EINVAL);
	CHECK(!pthread_join(th, NULL));
	CHECK_EQ(fired_value, 15);
	CHECK_EQ(fired_tid, tid);
	CHECK(make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0) > t[6]);
	kind_pass();
}
