/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait in io_getevents and io_pgetevents, with a timeout and without: each goes
 * on waiting, and gets what is submitted afterwards. */
#include "aio.h"
#include <pthread.h>

#define THREADS 4

static aio_context_t ctx[THREADS];
static volatile int tids[THREADS];
static int zero;

static void *wait_for_events(void *arg)
{
	long i = (long)arg;
	struct timespec hour = { .tv_sec = 3600 };
	struct io_event e[3] = { 0 };
	sigset_t mask;
	struct { const sigset_t *set; size_t size; } sig = { &mask, 8 };
	long r;

	sigfillset(&mask);
	sigdelset(&mask, SIGUSR1);
	tids[i] = (int)syscall(SYS_gettid);
	if (i < 2)
		r = syscall(SYS_io_getevents, ctx[i], 2L, 3L, e, i ? &hour : NULL);
	else
		r = syscall(SYS_io_pgetevents, ctx[i], 2L, 3L, e, i == 2 ? NULL : &hour, &sig);
	CHECK(r >= 0);
	CHECK_EQ(r, 2);
	CHECK_EQ(e[0].data, 10 * i);
	CHECK_EQ(e[1].data, 10 * i + 1);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];
	sigset_t blocked, now;

	kind_init(argc, argv);
	zero = open("/dev/null", O_RDONLY);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &blocked, NULL), 0);
	for (long i = 0; i < THREADS; i++) {
		ctx[i] = aio_setup(8);
		CHECK_EQ(pthread_create(&t[i], NULL, wait_for_events, (void *)i), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		while (!tids[i])
			kind_sleep_ms(1);
		kind_until_state(getpid(), tids[i], 'S');
	}
	kind_ready();

	for (int i = 0; i < THREADS; i++) {
		kind_until_state(getpid(), tids[i], 'S');
		aio_event(ctx[i], zero, (uint64_t)(10 * i));
		aio_event(ctx[i], zero, (uint64_t)(10 * i + 1));
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	}
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
	CHECK(sigismember(&now, SIGUSR2) == 1 && sigismember(&now, SIGUSR1) == 0);
	kind_pass();
}
