/* SPDX-License-Identifier: Apache-2.0 */
/* See guard.h. */
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/util/guard.h"
#include "core/util/util.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif
#define LOOK_EVERY 100000000 /* ns */
#define PATIENCE 2000        /* ms, for the end of whom it guards */
#define HELPERS 5            /* ms: they are killed with it, and end a little later */

/* ---- the guard ------------------------------------------------------------------------ */

static void prepare(bool shares_files)
{
	const struct sched_param first = { .sched_priority = 1 };
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE };

	prctl(PR_SET_PDEATHSIG, 0);
	prctl(PR_SET_NAME, "cr-guard");
	setsid();
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	if (!shares_files)
		close_range(0, ~0U, 0);
	sched_setscheduler(0, SCHED_FIFO, &first); /* refused: no harm */
}

/* Returns when a tracee has begun to die. It gets its signals meanwhile. */
static void await_exit(pid_t tid)
{
	int status;

	for (;;) {
		if (waitpid(tid, &status, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return;
		}
		const int event = status >> 16, signo = WSTOPSIG(status);
		if (!WIFSTOPPED(status) || event == PTRACE_EVENT_EXIT)
			return;
		if (event == PTRACE_EVENT_STOP)
			ptrace(signo == SIGTRAP ? PTRACE_CONT : PTRACE_LISTEN, tid, NULL, NULL);
		else
			ptrace(PTRACE_CONT, tid, NULL, (long)signo);
	}
}

static _Noreturn void guard_main(struct guard *g, pid_t maker, pid_t tid, struct guard_duty duty)
{
	struct timespec pause = { 0, 1000000 };

	prepare(duty.shares_files);
	const bool traces = ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACEEXIT) == 0;
	__atomic_store_n(&g->ready, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &g->ready, FUTEX_WAKE, 1, NULL, NULL, 0);
	if (traces)
		await_exit(tid);
	else if (pthread_mutex_lock(&g->life) != EOWNERDEAD)
		_exit(0);
	duty.first(duty.arg);
	if (traces)
		ptrace(PTRACE_DETACH, tid, NULL, NULL);
	for (int i = 0; i < PATIENCE && getppid() == maker; i++)
		nanosleep(&pause, NULL);
	pause.tv_nsec *= HELPERS;
	nanosleep(&pause, NULL);
	duty.last(duty.arg);
	_exit(0);
}

/* ---- us -------------------------------------------------------------------------------- */

static int lock_life(struct guard *g)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	int r = pthread_mutex_init(&g->life, &attr);
	pthread_mutexattr_destroy(&attr);
	return r ? r : pthread_mutex_lock(&g->life);
}

/* 0: it stands by. */
static int await_ready(struct guard *g)
{
	struct timespec slice = { 0, LOOK_EVERY };

	while (!__atomic_load_n(&g->ready, __ATOMIC_SEQ_CST)) {
		if (waitpid(g->pid, NULL, WNOHANG) == g->pid)
			return ECHILD;
		syscall(SYS_futex, &g->ready, FUTEX_WAIT, 0, &slice, NULL, 0);
	}
	return 0;
}

/* fork() cannot do that. */
static pid_t fork_sharing_files(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
}

int guard_begin(struct guard *g, const struct guard_duty *duty, struct crcore_error *err)
{
	const pid_t maker = getpid(), tid = (pid_t)syscall(SYS_gettid);
	sigset_t child;
	int r = lock_life(g);

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &g->mask);
	g->ready = 0;
	/* not into what both see: it would end as 0 */
	pid_t pid = r ? -1 : duty->shares_files ? fork_sharing_files() : fork();
	if (pid == 0)
		guard_main(g, maker, tid, *duty);
	g->pid = pid;
	r = pid > 0 ? await_ready(g) : r ? r : errno;
	if (r == 0)
		return 0;
	sigprocmask(SIG_SETMASK, &g->mask, NULL);
	return crcore_fail(err, -r, "no process to stand by should this one be killed: %s",
	                   strerror(r));
}

void guard_end(struct guard *g)
{
	pthread_mutex_unlock(&g->life);
	kill(g->pid, SIGKILL); /* it has nothing to do any more */
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	sigprocmask(SIG_SETMASK, &g->mask, NULL);
}
