/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thawing: every thread is let go. It has its own registers and mask already:
 * freeze.c wrote them once it had read them, run.c after each program. Also the
 * end of a tree that a dump takes down. Never fails: what is gone is gone.
 */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/task/stops.h"
#include "core/task/task.h"
#include "core/util/util.h"

#define PATIENCE 500000000u /* ns for all threads that have not stopped yet */
#define WORTH_KIB (16u << 10) /* of memory, which it takes a millisecond to free */

#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

static void let_go(struct thread *t, uint64_t deadline)
{
	int status, ignored;

	if (!t->seized)
		return;
	if (!t->stopped) /* it was asked to stop: only a stopped thread can be let go */
		stop_rest(t->tid, deadline, &ignored);
	if (t->masked)
		ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask);
	if (ptrace(PTRACE_DETACH, t->tid, NULL, NULL) < 0)
		waitpid(t->tid, &status, __WALL | WNOHANG); /* it was killed: its parent may know */
	t->seized = t->stopped = false;
}

static void stop_task(const struct task *t)
{
	if (t->nthreads && !t->threads[0].group_stop)
		syscall(SYS_pidfd_send_signal, t->pidfd, SIGSTOP, NULL, 0);
}

static void kill_task(const struct task *t)
{
	if (t->nthreads)
		syscall(SYS_pidfd_send_signal, t->pidfd, SIGKILL, NULL, 0);
}

static const struct task *largest_of(const struct tree *tree)
{
	const struct task *ret = NULL;

	for (unsigned i = 0; i < tree->ntasks; i++)
		if (tree->tasks[i]->anon_kib >= (ret ? ret->anon_kib + 1 : WORTH_KIB))
			ret = tree->tasks[i];
	return ret;
}

/*
 * A task that ends frees its memory page by page, on one processor (60 ms for a gigabyte of small
 * pages). The kernel lets others do the same from outside, with another: both walk through the
 * memory, and what one has in its hands the other passes over. It does so only until the task has
 * begun by itself: so nothing is done between the two calls, and the task is killed last.
 */
void tree_kill(const struct tree *tree)
{
	const struct task *largest = largest_of(tree);

	for (unsigned i = 0; i < tree->ntasks; i++)
		if (tree->tasks[i] != largest)
			kill_task(tree->tasks[i]);
	if (!largest)
		return;
	kill_task(largest);
	syscall(SYS_process_mrelease, largest->pidfd, 0); /* or it does it all */
}

/* It was killed. */
static void await_end(struct tree *tree, const struct pauses *pauses)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (pauses)
		pauses->wake(pauses->arg, CRCORE_WAKE_END, &ignored);
	/* A tracer is told of each thread's end; leaders end last. Who was killed last is waited for
	 * first: most of the others have ended by then, and need not wake us. */
	for (unsigned i = tree->ntasks; i-- > 0;)
		for (unsigned k = tree->tasks[i]->nthreads; k-- > 0;) {
			pid_t tid = tree->tasks[i]->threads[k].tid;
			int status;
			while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status))
				ptrace(PTRACE_CONT, tid, NULL, NULL);
			tree->tasks[i]->threads[k].seized = false;
		}
	if (pauses)
		pauses->rest(pauses->arg, &ignored);
}

void tree_thaw(struct tree *tree, enum leave leave, const struct pauses *pauses)
{
	if (leave == LEAVE_KILLED) {
		await_end(tree, pauses);
		return;
	}
	uint64_t deadline = now_ns() + PATIENCE;
	for (unsigned i = 0; leave == LEAVE_STOPPED && i < tree->ntasks; i++)
		stop_task(tree->tasks[i]);
	for (unsigned i = 0; i < tree->ntasks; i++) /* a leader's end shows last */
		for (unsigned k = tree->tasks[i]->nthreads; k-- > 0;)
			let_go(&tree->tasks[i]->threads[k], deadline);
}
