/* SPDX-License-Identifier: Apache-2.0 */
/* Waits that the kernel continues after a stop are continued after a checkpoint, too, also of
 * threads that were stopped once more when it came: then neither the kernel tells which call it
 * is, nor the code, where that makes all sorts of calls in one place. */
#include "kind.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>

enum { SHORT_MS = 400, LONG_MS = 100000 };

static uint32_t *word;
static struct timespec soon = { 0, SHORT_MS * 1000000L }, late = { LONG_MS / 1000, 0 };

struct waiter {
	const char *name;
	long args[5];
	long want; /* -errno or the result */
	pthread_t thread;
	volatile pid_t tid;
	long result;
};

static struct pollfd fds[1] = { { -1, POLLIN, 0 } };
static struct waiter waiters[] = {
	{ "poll", { SYS_poll, (long)fds, 1, SHORT_MS }, 0 },
	{ "poll of nothing", { SYS_poll, 0, 0, SHORT_MS }, 0 },
	{ "futex", { SYS_futex, 0, FUTEX_WAIT, 0, (long)&soon }, -ETIMEDOUT },
	{ "futex that is woken", { SYS_futex, 0, FUTEX_WAIT, 0, (long)&late }, 0 },
	{ "nanosleep", { SYS_nanosleep, (long)&soon }, 0 },
	{ "clock_nanosleep", { SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&soon }, 0 },
};
enum { N = sizeof(waiters) / sizeof(*waiters), WOKEN = 3 };

static void *run(void *arg)
{
	struct waiter *w = arg;
	const long *a = w->args;

	w->tid = gettid();
	w->result = syscall(a[0], a[1], a[2], a[3], a[4]);
	if (w->result < 0)
		w->result = -errno;
	return NULL;
}

static int child(void *arg)
{
	for (int i = 0; i < N; i++) {
		if (waiters[i].args[0] == SYS_futex)
			waiters[i].args[1] = (long)&word[i == WOKEN];
		CHECK(!pthread_create(&waiters[i].thread, NULL, run, &waiters[i]));
	}
	for (int i = 0; i < N; i++) {
		while (!waiters[i].tid)
			kind_sleep_ms(1);
		kind_until_state(getpid(), waiters[i].tid, 'S');
	}
	*(volatile uint32_t *)&word[2] = 1;
	while (!word[3])
		kind_sleep_ms(1);
	for (int tries = 0; syscall(SYS_futex, &word[1], FUTEX_WAKE, 1) != 1; tries++) {
		CHECK(tries < 10000);
		kind_sleep_ms(1);
	}
	for (int i = 0; i < N; i++) {
		CHECK(!pthread_join(waiters[i].thread, NULL));
		if (waiters[i].result != waiters[i].want)
			kind_fail("%s gave %ld instead of %ld", waiters[i].name, waiters[i].result,
			          waiters[i].want);
	}
	return 0;
}

static void stop(pid_t pid)
{
	int status;

	CHECK(!kill(pid, SIGSTOP));
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	word = kind_shared(4096);
	pid_t pid = kind_fork(child, NULL);

	kind_until((volatile int *)&word[2], 1);
	stop(pid);
	CHECK(!kill(pid, SIGCONT));
	kind_sleep_ms(20); /* all go on with their calls */
	stop(pid);
	kind_until_state(pid, pid, 'T');
	kind_ready();
	*(volatile uint32_t *)&word[3] = 1;
	CHECK(!kill(pid, SIGCONT));
	kind_join(pid);
	kind_pass();
}
