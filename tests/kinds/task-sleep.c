/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeps that a checkpoint interrupts end when they should and report success: relative,
 * of two clocks, and until a point in time. One of longer than the kernel counts goes on. */
#include "kind.h"
#include <pthread.h>

enum { LENGTH_MS = 900, EARLY_MS = 30, LATE_MS = 20000 };

struct sleeper {
	pthread_t thread;
	const char *name;
	int (*fn)(void);
	volatile pid_t tid;
	int64_t took;
	int ret, error;
};

static const struct timespec length = { 0, LENGTH_MS * 1000000L };

static int by_nanosleep(void)
{
	struct timespec rem;

	return (int)syscall(SYS_nanosleep, &length, &rem);
}

static int by_clock(void)
{
	return (int)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &length, NULL);
}

static int by_boottime(void)
{
	return (int)syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &length, NULL);
}

static int until(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += length.tv_nsec;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return (int)syscall(SYS_clock_nanosleep, clock, TIMER_ABSTIME, &t, NULL);
}

static int until_monotonic(void)
{
	return until(CLOCK_MONOTONIC);
}

static int until_realtime(void)
{
	return until(CLOCK_REALTIME);
}

/* The kernel takes the timeout as an int. */
static int by_poll(void)
{
	return (int)syscall(SYS_poll, NULL, 0L, 5L << 32 | LENGTH_MS);
}

static void *sleep_on(void *arg)
{
	const struct timespec age = { 1L << 55, 0 };

	*(volatile pid_t *)arg = gettid();
	syscall(SYS_nanosleep, &age, NULL);
	*(volatile pid_t *)arg = -1;
	return NULL;
}

static struct sleeper sleepers[] = {
	{ .name = "nanosleep", .fn = by_nanosleep },
	{ .name = "clock_nanosleep", .fn = by_clock },
	{ .name = "clock_nanosleep of CLOCK_BOOTTIME", .fn = by_boottime },
	{ .name = "absolute clock_nanosleep", .fn = until_monotonic },
	{ .name = "absolute clock_nanosleep of CLOCK_REALTIME", .fn = until_realtime },
	{ .name = "poll", .fn = by_poll },
};
enum { N = sizeof(sleepers) / sizeof(*sleepers) };

static void *run(void *arg)
{
	struct sleeper *s = arg;
	int64_t start = kind_now_ms();

	s->tid = gettid();
	s->ret = s->fn();
	s->error = errno;
	s->took = kind_now_ms() - start;
	return NULL;
}

int main(int argc, char **argv)
{
	volatile pid_t endless = 0;
	pthread_t thread;

	kind_init(argc, argv);
	CHECK(!pthread_create(&thread, NULL, sleep_on, (void *)&endless));
	while (!endless)
		kind_sleep_ms(1);
	kind_until_state(getpid(), endless, 'S');
	for (int i = 0; i < N; i++)
		CHECK(!pthread_create(&sleepers[i].thread, NULL, run, &sleepers[i]));
	for (int i = 0; i < N; i++) {
		while (!sleepers[i].tid)
			kind_sleep_ms(1);
		kind_until_state(getpid(), sleepers[i].tid, 'S');
	}
	kind_busy(); /* they end meanwhile */
	kind_ready();
	for (int i = 0; i < N; i++) {
		struct sleeper *s = &sleepers[i];

		CHECK(!pthread_join(s->thread, NULL));
		if (s->ret)
			kind_fail("%s returned %d, errno %d", s->name, s->ret, s->error);
		if (s->took < LENGTH_MS - EARLY_MS || s->took > LENGTH_MS + LATE_MS)
			kind_fail("%s took %lld ms instead of %d", s->name, (long long)s->took, LENGTH_MS);
	}
	CHECK(endless > 0);
	kind_pass();
}
