/* SPDX-License-Identifier: Apache-2.0 */
/* Waits without a timeout go on waiting, and end by what they waited for, never by EINTR:
 * read and write on a pipe, poll, futex, pause, sigsuspend, sigwait, wait for a child. */
#include "kind.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>

struct waiter {
	pthread_t thread;
	const char *name;
	long (*fn)(void);
	long want;
	volatile pid_t tid;
	volatile int over;
	long result;
};

static int empty[2], polled[2], full[2];
static uint32_t word;
static pid_t child;
static size_t filled;

static void on_usr1(int sig)
{
}

static long by_read(void)
{
	char c = 0;
	long n = read(empty[0], &c, 1);

	return n == 1 ? c : n;
}

static long by_write(void)
{
	return write(full[1], "x", 1);
}

static long by_poll(void)
{
	struct pollfd p = { polled[0], POLLIN, 0 };

	return syscall(SYS_poll, &p, 1, -1);
}

static long by_futex(void)
{
	return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static long by_pause(void)
{
	sigset_t set;

	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	return syscall(SYS_pause);
}

static long by_sigsuspend(void)
{
	uint64_t none = 0;

	return syscall(SYS_rt_sigsuspend, &none, 8);
}

static long by_sigwait(void)
{
	uint64_t set = 1ull << (SIGUSR2 - 1);

	return syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 8);
}

static long by_wait(void)
{
	return waitpid(child, NULL, 0) == child;
}

static int wait_child(void *arg)
{
	kind_wait();
	return 0;
}

static struct waiter waiters[] = {
	{ .name = "read", .fn = by_read, .want = 'r' },
	{ .name = "write", .fn = by_write, .want = 1 },
	{ .name = "poll", .fn = by_poll, .want = 1 },
	{ .name = "futex", .fn = by_futex, .want = 0 },
	{ .name = "pause", .fn = by_pause, .want = -EINTR },
	{ .name = "sigsuspend", .fn = by_sigsuspend, .want = -EINTR },
	{ .name = "sigwait", .fn = by_sigwait, .want = SIGUSR2 },
	{ .name = "waitpid", .fn = by_wait, .want = 1 },
};
enum { N = sizeof(waiters) / sizeof(*waiters) };

static void *run(void *arg)
{
	struct waiter *w = arg;

	w->tid = gettid();
	errno = 0;
	w->result = w->fn();
	if (w->result < 0)
		w->result = -errno;
	w->over = 1;
	return NULL;
}

static void release(struct waiter *w)
{
	char buf[65536];

	if (w->fn == by_read)
		CHECK_EQ(write(empty[1], "r", 1), 1);
	else if (w->fn == by_write)
		CHECK(read(full[0], buf, sizeof(buf)) > 0);
	else if (w->fn == by_poll)
		CHECK_EQ(write(polled[1], "p", 1), 1);
	else if (w->fn == by_futex)
		CHECK_EQ(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
	else if (w->fn == by_pause || w->fn == by_sigsuspend)
		CHECK(!pthread_kill(w->thread, SIGUSR1));
	else if (w->fn == by_sigwait)
		CHECK(!pthread_kill(w->thread, SIGUSR2));
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_usr1 };
	char buf[4096] = "";
	sigset_t set;

	kind_init(argc, argv);
	sigfillset(&set);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	CHECK(!pipe(empty) && !pipe(polled) && !pipe2(full, O_NONBLOCK));
	for (ssize_t n; (n = write(full[1], buf, sizeof(buf))) > 0;)
		filled += (size_t)n;
	CHECK(!fcntl(full[1], F_SETFL, 0) && !fcntl(full[0], F_SETFL, 0));
	child = kind_fork(wait_child, NULL);
	for (int i = 0; i < N; i++)
		CHECK(!pthread_create(&waiters[i].thread, NULL, run, &waiters[i]));
	for (int i = 0; i < N; i++) {
		while (!waiters[i].tid)
			kind_sleep_ms(1);
		kind_until_state(getpid(), waiters[i].tid, 'S');
	}
	kind_ready();
	for (int i = 0; i < N; i++) {
		struct waiter *w = &waiters[i];

		if (w->fn != by_wait) {
			if (w->over)
				kind_fail("%s ended too early with %ld", w->name, w->result);
			kind_until_state(getpid(), w->tid, 'S');
			release(w);
		}
		CHECK(!pthread_join(w->thread, NULL));
		if (w->result != w->want)
			kind_fail("%s gave %ld instead of %ld", w->name, w->result, w->want);
	}
	kind_pass();
}
