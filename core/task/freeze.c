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
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "core/task/seize.h"
#include "core/task/stops.h"
#include "core/task/task.h"
#include "core/task/tree.h"
#include "core/util/util.h"
#include "core/util/worker.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

#define PATIENCE 100 /* rounds of a millisecond */

struct freezing {
	struct tree *tree;
	uint64_t deadline;
	unsigned waiting;   /* threads that have not stopped yet */
	bool paused;        /* nothing stops yet: do not wait, nor for a seize to have effect */
	bool news;          /* some thread has reported something */
	bool again;         /* some have ended, or could not be seized: list them again */
};

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

/*
 * A thread that is gone without having reported its end has called exec: it is
 * the first thread now, in the place of the one that we knew as that.
 */
static void look_at_leader(struct freezing *f, struct thread *gone)
{
	struct thread *leader = gone->task->threads;

	if (gone != leader && leader->seized && leader->stopped) {
		leader->stopped = false;
		f->waiting++;
	}
}

static int poll_thread(struct freezing *f, struct thread *t, struct crcore_error *err)
{
	struct crcore_error why = CRCORE_ERROR_INIT;
	int status, r;
	pid_t pid = waitpid(t->tid, &status, __WALL | WNOHANG);

	if (pid < 0 && errno != ECHILD)
		return thread_failed(t, -errno, "wait for", err);
	if (pid == 0) {
		f->waiting += !t->stopped;
		return 0;
	}
	f->news = true;
	t->stopped = false;
	if (pid < 0 || !WIFSTOPPED(status)) {
		t->seized = false; /* it has ended */
		f->again = true;
		if (pid < 0)
			look_at_leader(f, t);
		return 0;
	}
	if ((r = take_stop(t, status, &why)) == -ESRCH)
		t->stopped = false; /* killed, which will be reported too */
	else if (r < 0)
		*err = why;
	f->waiting += !t->stopped;
	return r == -ESRCH ? 0 : r;
}

/*
 * Looks once at every thread of the tasks from first on that has not stopped
 * yet; all: also at those that had, which may have been killed since by an exec
 * or the end of a thread that runs. Those wait until we have taken note.
 */
static int poll_threads(struct freezing *f, unsigned first, bool all, struct crcore_error *err)
{
	int r = 0;

	f->waiting = 0;
	f->news = false;
	for (unsigned i = first; r == 0 && i < f->tree->ntasks; i++) {
		struct task *t = f->tree->tasks[i];
		for (unsigned k = 0; r == 0 && k < t->nthreads; k++)
			if (t->threads[k].seized && (all || !t->threads[k].stopped))
				r = poll_thread(f, &t->threads[k], err);
	}
	return r;
}

/* The request is lost if the thread was just about to call exec; or it waits for its child. */
static void ask_again(struct freezing *f, unsigned first)
{
	for (unsigned i = first; i < f->tree->ntasks; i++)
		for (unsigned k = 0; k < f->tree->tasks[i]->nthreads; k++) {
			struct thread *t = &f->tree->tasks[i]->threads[k];
			if (!t->seized || t->stopped)
				continue;
			stop_ask(t->tid);
			thread_release_children(t, f->tree);
		}
}

/* A leader that ended alone reports nothing as long as others live: see drop_ended(). */
static void give_up_leaders(struct freezing *f, unsigned first)
{
	for (unsigned i = first; i < f->tree->ntasks; i++) {
		struct task *t = f->tree->tasks[i];
		if (t->nthreads > 1 && t->threads[0].seized && !t->threads[0].stopped &&
		    stop_is_dead(t->threads[0].tid))
			t->threads[0].seized = false;
	}
}

static int refuse_unstoppable(const struct freezing *f, unsigned first, struct crcore_error *err)
{
	for (unsigned i = first; i < f->tree->ntasks; i++) {
		const struct task *t = f->tree->tasks[i];
		for (unsigned k = 0; k < t->nthreads; k++)
			if (t->threads[k].seized && !t->threads[k].stopped)
				return thread_refuse(&t->threads[k], err);
	}
	return crcore_fail(err, -ETIMEDOUT, "the tree does not stop");
}

/* Waits until all seized threads of the tasks from first on have stopped. */
static int await_stops(struct freezing *f, unsigned first, struct crcore_error *err)
{
	useconds_t pause = 0;
	unsigned rounds = 0;
	bool all = false;
	int r;

	for (;;) {
		if ((r = poll_threads(f, first, all, err)) < 0)
			return r;
		if (!f->waiting && !f->news && all)
			return 0;
		all = !f->waiting || pause > 1000;
		if (!f->waiting)
			continue;
		if (now_ns() > f->deadline)
			return refuse_unstoppable(f, first, err);
		if ((r = worker_check(err)) < 0)
			return r;
		if (pause > 1000 && ++rounds % 8 == 0)
			ask_again(f, first);
		if (rounds > PATIENCE)
			give_up_leaders(f, first);
		pause = f->news ? 0 : pause ? (pause < 1000 ? 2 * pause : pause) : 20;
		usleep(pause);
	}
}

/* ---- waves ------------------------------------------------------------------------- */

/* Seizes the threads that are not yet. *ret_new: how many. */
static int seize_threads(struct freezing *f, struct task *t, unsigned *ret_new,
                         struct crcore_error *err)
{
	struct seize_timer timer;
	int r = 0;

	if (t->nthreads > 1)
		seize_start(&timer);
	for (unsigned i = 0; r >= 0 && i < t->nthreads; i++)
		if (!t->threads[i].seized && !(f->paused && thread_is_stopped(&t->threads[i]))) {
			r = thread_seize(&t->threads[i], err);
			*ret_new += r == 1;
		}
	if (t->nthreads > 1)
		seize_stop(&timer);
	if (r == -EAGAIN)
		f->again = true;
	return r == -EAGAIN || r > 0 ? 0 : r;
}

static bool is_still(const struct task *t)
{
	for (unsigned i = 0; i < t->nthreads; i++)
		if (!t->threads[i].stopped)
			return false;
	return t->nthreads;
}

static int list_threads(void *arg, struct task *t, struct crcore_error *err)
{
	if (t->abi.state == CRCORE_TASK_ZOMBIE)
		return 0;
	t->still = is_still(t);
	int r = t->fresh ? 0 : task_refresh(t, err);

	t->fresh = false;
	return r == 0 ? task_threads(t, err) : r;
}

/* Lists the threads of the tasks from first on, and seizes those that are not yet. */
static int seize_wave(struct freezing *f, unsigned first, unsigned *ret_new,
                      struct crcore_error *err)
{
	const unsigned n = f->tree->ntasks - first;
	cleanup_free struct finding *found = tasks_look(f->tree->tasks + first, n, list_threads, NULL);
	int r = found ? 0 : crcore_no_memory(err);

	*ret_new = 0;
	f->again = false;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		if (found[i].r == -ESRCH || found[i].r == -ENOENT)
			continue; /* it has ended and was reaped: drop_ended() */
		if ((r = found[i].r) < 0)
			*err = found[i].err;
		else
			r = seize_threads(f, f->tree->tasks[first + i], ret_new, err);
	}
	return r;
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
	t->nthreads = t->abi.nthreads = n;
	return n && t->threads[0].tid != t->abi.pid ? task_refuse_leaderless(t, err) : 0;
}

/* Does a thread that calls exec take over this task right now? */
static bool is_between_leaders(struct task *t)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (t->leaderless || t->abi.state == CRCORE_TASK_ZOMBIE)
		return t->leaderless;
	for (unsigned i = 0; i < t->nthreads; i++)
		if (t->threads[i].seized)
			return false;
	return task_refresh(t, &ignored) == 0 && t->abi.state != CRCORE_TASK_ZOMBIE;
}

static unsigned count_between_leaders(struct freezing *f, unsigned first, unsigned last)
{
	unsigned n = 0;

	for (unsigned i = first; i < last; i++)
		n += is_between_leaders(f->tree->tasks[i]);
	return n;
}

static int freeze_wave(struct freezing *f, unsigned first, struct crcore_error *err)
{
	unsigned new_threads, between, tries = 0, last = f->tree->ntasks;
	int r;

	do {
		if ((r = seize_wave(f, first, &new_threads, err)) < 0 ||
		    (r = await_stops(f, first, err)) < 0 || (r = worker_check(err)) < 0)
			return r;
		if (now_ns() > f->deadline)
			return refuse_unstoppable(f, first, err);
		if ((between = count_between_leaders(f, first, last)))
			usleep(1000);
	} while (new_threads || f->again || (between && tries++ < PATIENCE));
	for (unsigned i = first; i < last; i++)
		if ((r = drop_ended(f->tree->tasks[i], err)) < 0)
			return r;
	return 0;
}

/*
 * All threads of a tree that does not run, seized and told to stop, without waiting
 * for any: once it is woken each stops before it executes an instruction.
 */
static int seize_paused(struct freezing *f, struct crcore_error *err)
{
	unsigned before, new_threads;
	int r;

	f->paused = true;
	do {
		if ((r = seize_wave(f, 0, &new_threads, err)) < 0)
			return r;
		before = f->tree->ntasks;
		if ((r = tree_add_children(f->tree, 0, before, err)) < 0 || (r = worker_check(err)) < 0)
			return r;
		if (now_ns() > f->deadline)
			return crcore_fail(err, -ETIMEDOUT, "the tree changes all the time");
	} while (new_threads || f->tree->ntasks != before);
	f->paused = false;
	return 0;
}

/*
 * Orphans may have come to a task of the tree meanwhile, if there was anybody to leave some:
 * to one above them. Those of the last wave had nobody below them when they had stopped,
 * unless somebody went just then, so it is the others that are asked once more.
 */
static int freeze_all(struct freezing *f, struct crcore_error *err)
{
	unsigned first = 0, asked = 0, before;
	int r;

	do {
		while (first < f->tree->ntasks) {
			unsigned last = f->tree->ntasks;
			if ((r = freeze_wave(f, first, err)) < 0 ||
			    (r = tree_add_children(f->tree, first, last, err)) < 0)
				return r;
			asked = r > 0 ? last : first;
			first = last;
		}
		before = f->tree->ntasks;
		if ((r = tree_add_children(f->tree, 0, asked, err)) < 0)
			return r;
	} while (f->tree->ntasks != before);
	tree_drop_reaped(f->tree);
	tree_set_states(f->tree);
	return 0;
}

static int freeze_paused(struct freezing *f, const struct pauses *p, struct crcore_error *err)
{
	struct crcore_error second = CRCORE_ERROR_INIT;
	int r = seize_paused(f, err), e;

	if (r == 0 && (r = p->wake(p->arg, CRCORE_WAKE_STOP, err)) == 0)
		r = freeze_all(f, err);
	e = p->rest(p->arg, r < 0 ? &second : err);
	return r < 0 ? r : e;
}

int tree_freeze(pid_t root, uint64_t timeout_ns, const struct pauses *pauses, struct tree *ret,
                struct crcore_error *err)
{
	struct freezing f = { .tree = ret, .deadline = now_ns() + timeout_ns };
	struct task *t;
	int r = task_open(root, NULL, &t, err);

	if (r == 0)
		r = tree_add(ret, t, err);
	if (r == 0)
		r = pauses ? freeze_paused(&f, pauses, err) : freeze_all(&f, err);
	if (r == 0 && ret->tasks[0]->abi.state == CRCORE_TASK_ZOMBIE) {
		crcore_fail_at(err, root, -1, "task %s", ret->tasks[0]->comm);
		r = crcore_fail(err, -ESRCH, "it has ended");
	}
	if (r < 0) {
		tree_thaw(ret, LEAVE_RUNNING, NULL);
		tree_free(ret);
	}
	return r;
}
