/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing: every thread of the tree seized (PTRACE_SEIZE) and resting in an
 * event stop, which the program cannot notice. Wave by wave: a task whose
 * threads have all stopped makes no more children, so those it has are the
 * next wave.
 *
 * A thread rests only in an event stop, never where a signal is about to be
 * delivered: should the tracer die, the kernel lets it go on as if nothing had
 * been (ptrace(2), "Stopped states").
 */
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/task/stops.h"
#include "core/task/task.h"
#include "core/task/tree.h"
#include "core/util/util.h"
#include "core/util/worker.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

struct freezing {
	struct tree *tree;
	uint64_t deadline;
};

static int thread_failed(const struct thread *t, int code, const char *what,
                         struct crcore_error *err)
{
	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	return crcore_fail(err, code, "cannot %s thread %d: %s", what, t->tid, strerror(-code));
}

/* ---- seizing ---------------------------------------------------------------------- */

static int refuse_traced(const struct thread *t, struct crcore_error *err)
{
	cleanup_free char *status = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const char *by = NULL;

	if (proc_read(t->task->proc, "status", &status, NULL, &ignored) == 0)
		by = proc_field(status, "TracerPid");
	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	if (by && atoi(by)) {
		crcore_advise(err, "end the tracer (a debugger, strace) or let it detach first");
		return crcore_fail(err, -EBUSY, "it is traced by process %d", atoi(by));
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

/* 1: seized and asked to stop, 0: it has ended. */
static int seize(struct thread *t, struct crcore_error *err)
{
	if (ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) < 0) {
		if (errno == ESRCH || thread_is_dead(t))
			return 0;
		return errno == EPERM ? refuse_traced(t, err) : thread_failed(t, -errno, "seize", err);
	}
	t->seized = true;
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 && errno != ESRCH)
		return thread_failed(t, -errno, "interrupt", err);
	return 1;
}

/* ---- stops ------------------------------------------------------------------------ */

/* A thread at rest: its registers, ready to go on with, also should we die. */
static int settle(struct thread *t, struct crcore_error *err)
{
	int r = regs_read(t, err);

	if (r == 0)
		r = stop_after_orphan(t, err);
	if (r == 0 && ptrace(PTRACE_SETREGS, t->tid, NULL, &t->regs) < 0)
		r = thread_failed(t, -errno, "set the registers of", err);
	return r;
}

/* A stop has been reported: is it one to rest in? If not, the thread is sent on. */
static int take_stop(struct thread *t, int status, struct crcore_error *err)
{
	int signo = WSTOPSIG(status), event = status >> 16;

	if (event == PTRACE_EVENT_STOP) {
		t->stopped = true;
		t->group_stop = signo != SIGTRAP;
		t->stop_signal = t->group_stop ? signo : 0;
		return settle(t, err);
	}
	/* A signal is being delivered: let it be, and stop at the next point. */
	if (ptrace(PTRACE_CONT, t->tid, NULL, (long)(event ? 0 : signo)) < 0 ||
	    ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
		return errno == ESRCH ? 0 : thread_failed(t, -errno, "stop", err);
	return 0;
}

/* Looks once at every thread of the task that has not stopped yet. */
static int poll_task(struct task *t, unsigned *ret_waiting, bool *ret_news,
                     struct crcore_error *err)
{
	for (unsigned i = 0; i < t->nthreads; i++) {
		struct thread *th = &t->threads[i];
		int status;
		if (th->stopped || !th->seized)
			continue;
		pid_t pid = waitpid(th->tid, &status, __WALL | WNOHANG);
		if (pid < 0 && errno != ECHILD)
			return thread_failed(th, -errno, "wait for", err);
		if (pid == 0) {
			(*ret_waiting)++;
			continue;
		}
		*ret_news = true;
		if (pid < 0 || !WIFSTOPPED(status)) {
			th->seized = false; /* it has ended */
			continue;
		}
		int r = take_stop(th, status, err);
		if (r < 0)
			return r;
		if (!th->stopped)
			(*ret_waiting)++;
	}
	return 0;
}

/*
 * A leader that has ended says so only when all other threads are reaped, those
 * too that had stopped before they were killed. patient: some may yet be on
 * their way out; else it is the leader alone that ended, see drop_ended().
 */
static void reap_ended(struct task *t, bool patient)
{
	bool others = false;

	if (!t->nthreads || !t->threads[0].seized || t->threads[0].stopped ||
	    !stop_is_dead(t->threads[0].tid))
		return;
	for (unsigned i = t->nthreads; i-- > 0;) {
		struct thread *th = &t->threads[i];
		int status = 0;
		if (th->seized && waitpid(th->tid, &status, __WALL | WNOHANG) != 0 &&
		    !WIFSTOPPED(status))
			th->seized = th->stopped = false;
		others = others || (i && th->seized);
	}
	if (others && !patient)
		t->threads[0].seized = false;
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

static int refuse_thread(const struct thread *t, struct crcore_error *err)
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

static int refuse_unstoppable(const struct freezing *f, unsigned first, struct crcore_error *err)
{
	for (unsigned i = first; i < f->tree->ntasks; i++) {
		const struct task *t = f->tree->tasks[i];
		for (unsigned k = 0; k < t->nthreads; k++)
			if (t->threads[k].seized && !t->threads[k].stopped)
				return refuse_thread(&t->threads[k], err);
	}
	return crcore_fail(err, -ETIMEDOUT, "the tree does not stop");
}

/* Waits until all seized threads of the tasks from first on have stopped. */
static int await_stops(struct freezing *f, unsigned first, struct crcore_error *err)
{
	useconds_t pause = 0;
	unsigned rounds = 0;

	for (;;) {
		unsigned waiting = 0;
		bool news = false;
		for (unsigned i = first; i < f->tree->ntasks; i++) {
			int r = poll_task(f->tree->tasks[i], &waiting, &news, err);
			if (r < 0)
				return r;
		}
		if (!waiting)
			return 0;
		if (now_ns() > f->deadline)
			return refuse_unstoppable(f, first, err);
		int r = worker_check(err);
		if (r < 0)
			return r;
		if (pause > 1000) {
			for (unsigned i = first; i < f->tree->ntasks; i++)
				reap_ended(f->tree->tasks[i], rounds < 100);
			rounds++;
		}
		pause = news ? 0 : pause ? (pause < 1000 ? 2 * pause : pause) : 20;
		usleep(pause);
	}
}

/* ---- waves ------------------------------------------------------------------------- */

/* Lists the threads and seizes those that are not yet. *ret_new: how many. */
static int seize_task(struct task *t, unsigned *ret_new, struct crcore_error *err)
{
	struct crcore_error gone = CRCORE_ERROR_INIT;
	int r = task_refresh(t, &gone);

	if (r == 0)
		r = task_threads(t, &gone);
	if (r == -ESRCH || r == -ENOENT)
		return 0; /* it has ended and was reaped: drop_ended() */
	for (unsigned i = 0; r >= 0 && i < t->nthreads; i++)
		if (!t->threads[i].seized) {
			r = seize(&t->threads[i], &gone);
			*ret_new += r == 1;
		}
	if (r < 0)
		*err = gone;
	return r < 0 ? r : 0;
}

/* Drops threads that ended. The leader's end with others alive is refused. */
static int drop_ended(struct task *t, struct crcore_error *err)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->nthreads; i++)
		if (t->threads[i].seized) {
			t->tids[n] = t->threads[i].tid;
			t->threads[n++] = t->threads[i];
		}
	if (n == t->nthreads && n)
		return 0;
	bool leader = n && t->threads[0].tid == t->abi.pid;
	t->nthreads = t->abi.nthreads = n;
	if (n && !leader) {
		crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
		return crcore_fail(err, -ENOTSUP, "its first thread has ended while others run");
	}
	return 0;
}

static int freeze_wave(struct freezing *f, unsigned first, struct crcore_error *err)
{
	unsigned new_threads, last = f->tree->ntasks;
	int r;

	do {
		new_threads = 0;
		for (unsigned i = first; i < last; i++)
			if (f->tree->tasks[i]->abi.state != CRCORE_TASK_ZOMBIE &&
			    (r = seize_task(f->tree->tasks[i], &new_threads, err)) < 0)
				return r;
		if ((r = await_stops(f, first, err)) < 0)
			return r;
	} while (new_threads);
	for (unsigned i = first; i < last; i++)
		if ((r = drop_ended(f->tree->tasks[i], err)) < 0)
			return r;
	return 0;
}

/* Children of the tasks from first on; those of a zombie belong to others. */
static int next_wave(struct freezing *f, unsigned first, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = first, last = f->tree->ntasks; r == 0 && i < last; i++)
		r = tree_add_children(f->tree, f->tree->tasks[i], err);
	return r;
}

/* A task that ended is a zombie, unless it was reaped at once: then there is
 * nothing to save. */
static void drop_reaped(struct tree *tree)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		struct crcore_error gone = CRCORE_ERROR_INIT;
		if (i > 0 && !t->nthreads && task_refresh(t, &gone) < 0) {
			task_free(t);
			continue;
		}
		t->abi.index = n;
		tree->tasks[n++] = t;
	}
	tree->ntasks = n;
}

static void set_states(struct tree *tree)
{
	for (unsigned i = 0; i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		if (!t->nthreads)
			t->abi.state = CRCORE_TASK_ZOMBIE;
		else
			t->abi.state = t->threads[0].group_stop ? CRCORE_TASK_STOPPED : CRCORE_TASK_RUNNING;
		t->abi.nthreads = t->nthreads;
		t->abi.tids = t->tids;
	}
}

static int freeze_all(struct freezing *f, struct crcore_error *err)
{
	unsigned first = 0, before;
	int r;

	do {
		before = f->tree->ntasks;
		while (first < f->tree->ntasks) {
			unsigned last = f->tree->ntasks;
			if ((r = freeze_wave(f, first, err)) < 0 || (r = next_wave(f, first, err)) < 0)
				return r;
			first = last;
		}
		/* Orphans may have come to a task of the tree meanwhile. */
		if ((r = next_wave(f, 0, err)) < 0)
			return r;
	} while (f->tree->ntasks != before || first < f->tree->ntasks);
	drop_reaped(f->tree);
	set_states(f->tree);
	return 0;
}

int tree_freeze(pid_t root, uint64_t timeout_ns, struct tree *ret, struct crcore_error *err)
{
	struct freezing f = { ret, now_ns() + timeout_ns };
	struct task *t;
	int r = task_open(root, NULL, &t, err);

	if (r == 0)
		r = tree_add(ret, t, err);
	if (r == 0)
		r = freeze_all(&f, err);
	if (r == 0 && ret->tasks[0]->abi.state == CRCORE_TASK_ZOMBIE) {
		crcore_fail_at(err, root, -1, "task %s", ret->tasks[0]->comm);
		r = crcore_fail(err, -ESRCH, "it has ended");
	}
	if (r < 0) {
		tree_thaw(ret, LEAVE_RUNNING);
		tree_free(ret);
	}
	return r;
}
