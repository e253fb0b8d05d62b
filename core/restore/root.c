/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first task, cloned by main so that main, or main's parent, can wait for
 * it. Until its program has run it is a copy of main: from clone3() to the jump
 * into the interpreter it may use nothing that another thread or a signal
 * handler could have left half done, and it must not return.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

#ifndef CLONE_PARENT
#define CLONE_PARENT 0x00008000
#endif
#define RSEQ_UNREGISTER 1

/* The kernel writes to it whenever the thread is scheduled, until told otherwise. */
static void leave_rseq(void)
{
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
		        __rseq_size < 32 ? 32 : __rseq_size, RSEQ_UNREGISTER, RSEQ_SIG);
}

/* To numbers from q->coordinator_fd on; all may be in each other's way before. */
static void number_pidfds(const struct root_request *q, int *memfd, const int *pidfds)
{
	int above = q->coordinator_fd + q->npidfds, high[1 + BANKS_MAX];

	*memfd = fcntl(*memfd, F_DUPFD, above);
	for (int i = 0; i < q->npidfds; i++)
		high[i] = fcntl(pidfds[i], F_DUPFD, above);
	for (int i = 0; i < q->npidfds; i++)
		if (dup3(high[i], q->coordinator_fd + i, 0) < 0)
			_exit(1);
}

/* CLONE_CLEAR_SIGHAND leaves what whoever began crcore has ignored. */
static void default_actions(void)
{
	const uint64_t action[4] = { 0 }; /* struct sigaction as the kernel has it */

	for (int sig = 1; sig < _NSIG; sig++)
		syscall(SYS_rt_sigaction, sig, action, NULL, 8);
}

static _Noreturn void become_stub(const struct root_request *q, int memfd, const int *pidfds)
{
	default_actions();
	number_pidfds(q, &memfd, pidfds);
	void *p = mmap((void *)(uintptr_t)q->region, q->size, PROT_READ | PROT_WRITE | PROT_EXEC,
	               MAP_SHARED | MAP_FIXED_NOREPLACE, memfd, 0);
	if (p != (void *)(uintptr_t)q->region)
		_exit(1);
	leave_rseq();
	void (*entry)(void *) = (void (*)(void *))(uintptr_t)q->entry;
	entry((void *)(uintptr_t)q->program);
	_exit(1);
}

/* Returns the pid, or a negative errno. */
int root_clone(const struct root_request *q, int memfd, const int *pidfds, struct crcore_error *err)
{
	struct clone_args args = {
		.flags = CLONE_CLEAR_SIGHAND | (q->sibling ? CLONE_PARENT : 0),
		.exit_signal = q->sibling ? 0 : SIGCHLD,
		.set_tid = (uintptr_t)&q->pid,
		.set_tid_size = 1,
	};
	sigset_t all, old;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		uint64_t every = ~0ULL; /* also those that libc keeps for itself */
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &every, NULL, 8);
		become_stub(q, memfd, pidfds);
	}
	int e = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid > 0)
		return (int)pid;
	crcore_fail_at(err, q->pid, -1, "task %d", q->pid);
	return crcore_fail(err, -e, "cannot be cloned: %s", strerror(e));
}
