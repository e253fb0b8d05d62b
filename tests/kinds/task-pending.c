/* SPDX-License-Identifier: Apache-2.0 */
/* Signals that are queued: for the process and for single threads, with all of their
 * siginfo, realtime ones in their order. */
#include "kind.h"
#include <pthread.h>

static sigset_t all;
static pthread_barrier_t ready, done;

/* libc's sigtimedwait() hides SI_TKILL. */
static int take(siginfo_t *info)
{
	return (int)syscall(SYS_rt_sigtimedwait, &all, info, &(struct timespec){ 0 }, 8);
}

static void expect(int sig, int code, int value)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	CHECK_EQ(take(&info), sig);
	CHECK_EQ(info.si_signo, sig);
	CHECK_EQ(info.si_code, code);
	CHECK_EQ(info.si_pid, getpid());
	CHECK_EQ(info.si_uid, getuid());
	if (code == SI_QUEUE)
		CHECK_EQ(info.si_value.sival_int, value);
}

static void expect_none(void)
{
	siginfo_t info;

	CHECK(take(&info) < 0 && errno == EAGAIN);
}

static void *run(void *arg)
{
	union sigval v;

	for (int i = 0; i < 3; i++) {
		v.sival_int = 900 + i;
		CHECK(!pthread_sigqueue(pthread_self(), SIGRTMIN + 3, v));
	}
	CHECK(!syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2));
	pthread_barrier_wait(&ready);
	kind_wait();
	/* The main thread takes what is queued for the process first. */
	pthread_barrier_wait(&done);
	expect(SIGUSR2, SI_TKILL, 0);
	for (int i = 0; i < 3; i++)
		expect(SIGRTMIN + 3, SI_QUEUE, 900 + i);
	expect_none();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	union sigval v;

	kind_init(argc, argv);
	sigfillset(&all);
	CHECK(!sigprocmask(SIG_BLOCK, &all, NULL));
	CHECK(!pthread_barrier_init(&ready, NULL, 2));
	CHECK(!pthread_barrier_init(&done, NULL, 2));
	for (int i = 0; i < 5; i++) {
		v.sival_int = 100 + i;
		CHECK(!sigqueue(getpid(), SIGRTMIN + 2, v));
	}
	v.sival_int = 77;
	CHECK(!sigqueue(getpid(), SIGTERM, v));
	CHECK(!kill(getpid(), SIGUSR1));
	CHECK(!kill(getpid(), SIGUSR1)); /* standard signals are queued once */
	CHECK(!kill(getpid(), SIGCONT));
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	pthread_barrier_wait(&ready);
	kind_ready();
	expect(SIGUSR1, SI_USER, 0);
	expect(SIGTERM, SI_QUEUE, 77);
	expect(SIGCONT, SI_USER, 0);
	for (int i = 0; i < 5; i++)
		expect(SIGRTMIN + 2, SI_QUEUE, 100 + i);
	expect_none();
	pthread_barrier_wait(&done);
	CHECK(!pthread_join(thread, NULL));
	kind_pass();
}
