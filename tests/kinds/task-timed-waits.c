/* SPDX-License-Identifier: Apache-2.0 */
/* Waits with a timeout that a checkpoint interrupts: poll, select, futex and their kin
 * end by their timeout, in time, and the application never sees EINTR. */
#include "kind.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>

enum { LENGTH_MS = 900, EARLY_MS = 30, LATE_MS = 20000 };

struct waiter {
	pthread_t thread;
	const char *name;
	long (*fn)(void);
	long want; /* -errno or the result */
	volatile pid_t tid;
	int64_t took;
	long result;
};

static int nothing[2]; /* a pipe into which nobody writes */
static uint32_t word;
static const struct timespec length = { 0, LENGTH_MS * 1000000L };

static struct timespec from_now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += length.tv_nsec;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static long by_poll(void)
{
	struct pollfd p = { nothing[0], POLLIN, 0 };

	return syscall(SYS_poll, &p, 1, LENGTH_MS);
}

static long by_ppoll(void)
{
	struct pollfd p = { nothing[0], POLLIN, 0 };
	struct timespec t = length;

	return syscall(SYS_ppoll, &p, 1, &t, NULL, 8);
}

static long by_select(void)
{
	struct timeval t = { 0, LENGTH_MS * 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(nothing[0], &set);
	return syscall(SYS_select, nothing[0] + 1, &set, NULL, NULL, &t);
}

static long by_pselect(void)
{
	struct timespec t = length;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(nothing[0], &set);
	return syscall(SYS_pselect6, nothing[0] + 1, &set, NULL, NULL, &t, NULL);
}

static long by_futex(void)
{
	return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &length, NULL, 0);
}

static long by_futex_absolute(void)
{
	struct timespec t = from_now(CLOCK_MONOTONIC);

	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, 1);
}

static long by_cond(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	struct timespec t = from_now(CLOCK_REALTIME);
	int ret;

	pthread_mutex_lock(&mutex);
	ret = pthread_cond_timedwait(&cond, &mutex, &t);
	pthread_mutex_unlock(&mutex);
	errno = ret;
	return ret ? -1 : 0;
}

static long by_sigtimedwait(void)
{
	struct timespec t = length;
	uint64_t set = 1ull << (SIGUSR2 - 1);

	return syscall(SYS_rt_sigtimedwait, &set, NULL, &t, 8);
}

static struct waiter waiters[] = {
	{ .name = "poll", .fn = by_poll, .want = 0 },
	{ .name = "ppoll", .fn = by_ppoll, .want = 0 },
	{ .name = "select", .fn = by_select, .want = 0 },
	{ .name = "pselect6", .fn = by_pselect, .want = 0 },
	{ .name = "futex", .fn = by_futex, .want = -ETIMEDOUT },
	{ .name = "futex until a time", .fn = by_futex_absolute, .want = -ETIMEDOUT },
	{ .name = "pthread_cond_timedwait", .fn = by_cond, .want = -ETIMEDOUT },
	{ .name = "sigtimedwait", .fn = by_sigtimedwait, .want = -EAGAIN },
};
enum { N = sizeof(waiters) / sizeof(*waiters) };

static void *run(void *arg)
{
	struct waiter *w = arg;
	int64_t start = kind_now_ms();

	w->tid = gettid();
	errno = 0;
	w->result = w->fn();
	if (w->result < 0)
		w->result = -errno;
	w->took = kind_now_ms() - start;
	return NULL;
}

int main(int argc, char **argv)
{
	sigset_t set;

	kind_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	CHECK(!pipe(nothing));
	for (int i = 0; i < N; i++)
		CHECK(!pthread_create(&waiters[i].thread, NULL, run, &waiters[i]));
	for (int i = 0; i < N; i++) {
		while (!waiters[i].tid)
			kind_sleep_ms(1);
		kind_until_state(getpid(), waiters[i].tid, 'S');
	}
	kind_busy(); /* they end meanwhile */
	kind_ready();
	for (int i = 0; i < N; i++) {
		struct waiter *w = &waiters[i];

		CHECK(!pthread_join(w->thread, NULL));
		if (w->result != w->want)
			kind_fail("%s gave %ld instead of %ld", w->name, w->result, w->want);
		if (w->took < LENGTH_MS - EARLY_MS || w->took > LENGTH_MS + LATE_MS)
			kind_fail("%s took %lld ms instead of %d", w->name, (long long)w->took, LENGTH_MS);
	}
	kind_pass();
}
