/* SPDX-License-Identifier: Apache-2.0 */
/* Filters that kill for nearly everything that crcore has to call in the task: of one
 * that sleeps, of one that is stopped, of one with threads. */
#include "seccomp.h"
#include <pthread.h>

static void lock_in(void)
{
	static const long calls[] = {
		SYS_nanosleep, SYS_clock_nanosleep, SYS_restart_syscall, SYS_access, SYS_faccessat,
		SYS_futex, SYS_exit, SYS_exit_group, SYS_madvise, SYS_munmap, SYS_rt_sigprocmask, SYS_rt_sigreturn,
	};

	CHECK(!allow_only(calls, sizeof(calls) / sizeof(calls[0]), SECCOMP_FILTER_FLAG_TSYNC));
}

static int sleeper(void *arg)
{
	lock_in();
	*(volatile int *)arg = 4;
	kind_wait();
	return 0;
}

static void *thread(void *arg)
{
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	return NULL;
}

static int threads(void *arg)
{
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&t[i], NULL, thread, arg));
	kind_until(arg, 3); /* to begin takes more than they will be allowed */
	lock_in();
	*(volatile int *)arg = 4;
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(t[i], NULL));
	return 0;
}

int main(int argc, char **argv)
{
	volatile int *flag;
	pid_t pid[3];

	kind_init(argc, argv);
	flag = kind_shared(4096);
	pid[0] = kind_fork(sleeper, (void *)&flag[0]);
	pid[1] = kind_fork(sleeper, (void *)&flag[1]);
	pid[2] = kind_fork(threads, (void *)&flag[2]);
	for (int i = 0; i < 3; i++)
		kind_until(&flag[i], 4);
	CHECK(!kill(pid[1], SIGSTOP));
	kind_until_state(pid[1], pid[1], 'T');
	kind_ready();

	kind_until_state(pid[1], pid[1], 'T');
	CHECK(!kill(pid[1], SIGCONT));
	for (int i = 0; i < 3; i++)
		kind_join(pid[i]);
	kind_pass();
}
