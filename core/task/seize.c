/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See seize.h.
 *
 * PTRACE_SEIZE waits for a thread of the same process that is in exec, which
 * waits for the end of the others, which waits for their tracer, us. So with
 * more than one thread it runs under a timer whose handler leaves the call.
 */
#include <linux/kcmp.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "core/task/seize.h"
#include "core/task/stops.h"
#include "core/util/util.h"

#define EXEC_TRIES 20      /* 1 ms each */
#define SEIZE_SLICE 10000  /* us */

int thread_failed(const struct thread *t, int code, const char *what,
                  struct crcore_error *err)
{
	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	return crcore_fail(err, code, "cannot %s thread %d: %s", what, t->tid, strerror(-code));
}

static pid_t tracer_of(const struct thread *t)
{
	cleanup_free char *status = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char name[40];
	const char *by = NULL;

	snprintf(name, sizeof(name), "task/%d/status", t->tid);
	if (proc_read(t->task->proc, name, &status, NULL, &ignored) == 0)
		by = proc_field(status, "TracerPid");
	return by ? atoi(by) : 0;
}

static int refuse_traced(const struct thread *t, struct crcore_error *err)
{
	pid_t by = tracer_of(t);

	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	if (by) {
		crcore_advise(err, "end the tracer (a debugger, strace) or let it detach first");
		return crcore_fail(err, -EBUSY, "it is traced by process %d", by);
	}
	crcore_advise(err, "run crcore with CAP_SYS_PTRACE");
	return crcore_fail(err, -EPERM, "not allowed to seize thread %d", t->tid);
}

static bool thread_is_dead(const struct thread *t)
{
	char name[32];
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	snprintf(name, sizeof(name), "task/%d/stat", t->tid);
	if (proc_read(t->task->proc, name, &text, NULL, &ignored) < 0)
		return true;
	char *p = strrchr(text, ')');
	return !p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X';
}

bool thread_is_stopped(const struct thread *t)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char name[40];

	snprintf(name, sizeof(name), "task/%d/stack", t->tid);
	return proc_read(t->task->proc, name, &text, NULL, &ignored) == 0 &&
	       strstr(text, "do_signal_stop") != NULL;
}

/* The call that the handler may leave; it has no other way to know. */
static _Thread_local sigjmp_buf *volatile leave;

static void on_timer(int signo)
{
	if (leave)
		siglongjmp(*leave, 1);
}

void seize_start(struct seize_timer *s)
{
	const struct sigaction sa = { .sa_handler = on_timer };
	const struct itimerval t = { { 0, SEIZE_SLICE }, { 0, SEIZE_SLICE } };
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigaction(SIGALRM, &sa, &s->action);
	sigprocmask(SIG_UNBLOCK, &alarm, &s->mask);
	setitimer(ITIMER_REAL, &t, NULL);
}

void seize_stop(struct seize_timer *s)
{
	const struct itimerval off = { 0 };

	setitimer(ITIMER_REAL, &off, NULL);
	sigprocmask(SIG_SETMASK, &s->mask, NULL);
	sigaction(SIGALRM, &s->action, NULL);
}

/* 0, or a negative errno; -EINTR: left by the timer. */
static int try_seize(pid_t tid)
{
	sigjmp_buf here;
	int r = -EINTR;

	if (!sigsetjmp(here, 1)) {
		leave = &here;
		r = stop_seize(tid);
	}
	leave = NULL;
	return r;
}

int thread_seize(struct thread *t, struct crcore_error *err)
{
	int r;

	for (int tries = 0; (r = try_seize(t->tid)) < 0; tries++) {
		if (r == -ESRCH || thread_is_dead(t))
			return 0;
		pid_t by = tracer_of(t);
		/* Left as it succeeded, or known by its old number: one that calls exec
		 * while others run becomes the leader. */
		if (by == getpid())
			break;
		if (r == -EINTR)
			return -EAGAIN;
		if (r != -EPERM)
			return thread_failed(t, r, "seize", err);
		/* For a moment it cannot be seized. */
		if (tries == EXEC_TRIES || by)
			return refuse_traced(t, err);
		usleep(1000);
	}
	t->seized = true;
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 && errno != ESRCH)
		return thread_failed(t, -errno, "interrupt", err);
	return 1;
}

void thread_release_children(const struct thread *t, const struct tree *known)
{
	cleanup_free pid_t *pids = NULL;
	unsigned n = 0;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	int status;

	if (proc_children(t->task->proc, t->tid, &pids, &n, &ignored) < 0)
		return;
	for (unsigned i = 0; i < n; i++)
		if (!tree_find(known, pids[i]) && stop_next(pids[i], 0, &status) > 0 &&
		    WIFSTOPPED(status))
			ptrace(PTRACE_DETACH, pids[i], NULL, (long)stop_signal(status));
}

/* The child that a thread in vfork(2) waits for: it runs in the same memory. */
static pid_t vfork_child(const struct thread *t)
{
	cleanup_free pid_t *pids = NULL;
	unsigned n = 0;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (proc_children(t->task->proc, t->tid, &pids, &n, &ignored) < 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (syscall(SYS_kcmp, t->task->abi.pid, pids[i], KCMP_VM, 0, 0) == 0)
			return pids[i];
	return 0;
}

int thread_refuse(const struct thread *t, struct crcore_error *err)
{
	pid_t child = vfork_child(t);

	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	if (child) {
		crcore_advise(err, "try again when process %d has called exec or ended", child);
		return crcore_fail(err, -ETIMEDOUT, "thread %d waits in vfork for process %d", t->tid,
		                   child);
	}
	crcore_advise(err, "it waits in the kernel for a device or a file server; see "
	              "/proc/%d/task/%d/stack, or raise dump.timeout", t->task->abi.pid, t->tid);
	return crcore_fail(err, -ETIMEDOUT, "thread %d does not stop", t->tid);
}
