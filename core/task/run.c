/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running the programs that were placed: all threads of all regions at once.
 *
 * A thread is away from the application only here. Meanwhile the life word of
 * its region is held, so that it goes back by itself if we die; at the end, be
 * it by failure, it rests with its own registers and signal mask again.
 */
#include <linux/futex.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/inject.h"
#include "core/task/stops.h"
#include "core/util/util.h"
#include "core/util/worker.h"

#define BATCH 1024         /* regions: see life.c */
#define LOOK_FIRST 200000u /* ns between looks at threads that take long */
#define LOOK_LAST 20000000u
#define HALT 10000000000u  /* ns for a thread to come back */

struct batch {
	struct inject *const *injects;
	unsigned n;
	uint64_t deadline;
	bool news;               /* a look has sent a thread on */
	void (*meanwhile)(void *arg, struct inject *);
	void *arg;
};

/* Calls fn for every thread that has a program to run, until it fails. Leaders,
 * which are placed first, come last: the end of one shows only after all others'. */
static int each(struct batch *b, int (*fn)(struct batch *, struct inject *, struct placed *,
                struct crcore_error *), struct crcore_error *err)
{
	for (unsigned i = 0; i < b->n; i++)
		for (unsigned k = b->injects[i]->nplaced; k-- > 0;) {
			struct placed *p = &b->injects[i]->placed[k];
			int r = p->ran ? 0 : fn(b, b->injects[i], p, err);
			if (r < 0) {
				crcore_fail_at(err, p->thread->task->abi.pid, -1, "task %s",
				               p->thread->task->comm);
				return r;
			}
		}
	return 0;
}

static int lost(const struct thread *t, int code, struct crcore_error *err)
{
	if (code == -ESRCH)
		return crcore_fail(err, code, "thread %d was killed meanwhile", t->tid);
	return crcore_fail(err, code, "thread %d cannot be controlled: %s", t->tid, strerror(-code));
}

/* ---- in ------------------------------------------------------------------------------ */

/* To the beginning of the interpreter, on the application's stack still. There the
 * signal mask may be changed: if we die, the thread goes back from there, and a
 * signal handler that comes first is where it may be. */
static int divert(const struct inject *in, const struct placed *p)
{
	struct program *head = prog_local(p->prog);
	arch_regs regs = p->thread->regs;

	arch_divert(&regs, in->local->entry,
	            in->remote + (uint64_t)((uint8_t *)head - (uint8_t *)in->local));
	return ptrace(PTRACE_SETREGS, p->thread->tid, NULL, &regs) < 0 ? -errno : 0;
}

static int set_mask(const struct thread *t, uint64_t mask)
{
	return ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask) < 0 ? -errno : 0;
}

static int send_in(struct batch *b, struct inject *in, struct placed *p,
                   struct crcore_error *err)
{
	int r;

	__atomic_store_n(&prog_local(p->prog)->state, PROGRAM_RUN, __ATOMIC_RELEASE);
	if ((r = divert(in, p)) < 0 || (r = set_mask(p->thread, ALL_SIGNALS)) < 0)
		return lost(p->thread, r, err);
	if (ptrace(PTRACE_CONT, p->thread->tid, NULL, NULL) < 0)
		return lost(p->thread, -errno, err);
	p->running = true;
	return 0;
}

/* ---- meanwhile ------------------------------------------------------------------------ */

/* Signals that cannot be blocked, and job control, still stop threads: they go on. */
static int look(struct batch *b, struct inject *in, struct placed *p,
                struct crcore_error *err)
{
	int status, r = stop_next(p->thread->tid, 0, &status);

	if (r == 0)
		return 0;
	if (r < 0 || !WIFSTOPPED(status))
		return lost(p->thread, -ESRCH, err);
	if (ptrace(PTRACE_CONT, p->thread->tid, NULL, (long)stop_signal(status)) < 0)
		return lost(p->thread, -errno, err);
	b->news = true;
	return 0;
}

static int await_done(struct batch *b, struct inject *in, struct crcore_error *err)
{
	uint32_t *done = &in->local->done, want = in->local->done_want, seen;
	struct timespec slice = { 0, LOOK_FIRST };

	while ((seen = __atomic_load_n(done, __ATOMIC_ACQUIRE)) < want) {
		if (syscall(SYS_futex, done, FUTEX_WAIT, seen, &slice, NULL, 0) == 0 || errno == EAGAIN)
			continue;
		b->news = false;
		int r = each(b, look, err);
		slice.tv_nsec = b->news ? LOOK_FIRST : slice.tv_nsec < LOOK_LAST ? 2 * slice.tv_nsec
		                                                                 : LOOK_LAST;
		if (r == 0)
			r = worker_check(err);
		if (r < 0)
			return r;
		if (now_ns() > b->deadline) {
			crcore_fail_at(err, in->thread->task->abi.pid, -1, "task %s",
			               in->thread->task->comm);
			return crcore_fail(err, -ETIMEDOUT, "%u of its %u threads did not answer in time",
			                   want - seen, want);
		}
	}
	return 0;
}

/* ---- out ------------------------------------------------------------------------------- */

static int ask_to_stop(struct batch *b, struct inject *in, struct placed *p,
                       struct crcore_error *err)
{
	if (p->running)
		stop_ask(p->thread->tid);
	return 0;
}

/* Never fails early: every thread is brought back that can be. */
static int bring_back(struct batch *b, struct inject *in, struct placed *p,
                      struct crcore_error *err)
{
	struct thread *t = p->thread;
	int ignored, r = p->running ? stop_rest(t->tid, now_ns() + HALT, &ignored) : 0;

	if (r == 0 && (r = divert(in, p)) == 0 && (r = set_mask(t, t->sigmask)) == 0 &&
	    ptrace(PTRACE_SETREGS, t->tid, NULL, &t->regs) < 0)
		r = -errno;
	p->ran = true;
	p->running = false;
	if (r == -ETIMEDOUT) {
		in->stuck = true;
		t->stopped = false;
	}
	if (r < 0) {
		lost(t, r, err);
		crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	}
	return 0;
}

/* The first program that failed in any region. */
static int verdict(const struct batch *b, struct crcore_error *err)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct inject *in = b->injects[i];
		uint32_t failed = in->local->failed;
		if (failed && failed <= in->nplaced) {
			const struct placed *p = &in->placed[failed - 1];
			crcore_fail_at(err, p->thread->task->abi.pid, -1, "task %s: thread %d",
			               p->thread->task->comm, p->thread->tid);
			return prog_failure(p->prog, p->thread->task->abi.pid, err);
		}
	}
	return 0;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int prepare(struct inject *in, struct crcore_error *err)
{
	in->local->done = in->local->done_want = in->local->failed = 0;
	for (unsigned k = 0; k < in->nplaced; k++)
		in->local->done_want += !in->placed[k].ran;
	return life_init(in->local, err);
}

static int run_batch(struct batch *b, struct crcore_error *err)
{
	unsigned alive = 0;
	int r = 0, e;

	for (; r == 0 && alive < b->n; alive++)
		r = prepare(b->injects[alive], err);
	if (r == 0)
		r = each(b, send_in, err);
	for (unsigned i = 0; b->meanwhile && r == 0 && i < b->n; i++)
		b->meanwhile(b->arg, b->injects[i]);
	for (unsigned i = 0; r == 0 && i < b->n; i++)
		r = await_done(b, b->injects[i], err);
	each(b, ask_to_stop, err);
	each(b, bring_back, err);
	e = verdict(b, err);
	for (unsigned i = 0; i < alive; i++)
		if (!b->injects[i]->stuck)
			life_release(b->injects[i]->local);
	return r ? r : e ? e : err->code;
}

int inject_run_with(struct inject *const *injects, unsigned n, uint64_t timeout_ns,
                    void (*meanwhile)(void *, struct inject *), void *arg,
                    struct crcore_error *err)
{
	uint64_t deadline = now_ns() + timeout_ns;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i += BATCH) {
		struct batch b = { injects + i, n - i < BATCH ? n - i : BATCH, deadline, false,
		                   meanwhile, arg };
		r = run_batch(&b, err);
	}
	return r;
}

int inject_run(struct inject *const *injects, unsigned n, uint64_t timeout_ns,
               struct crcore_error *err)
{
	return inject_run_with(injects, n, timeout_ns, NULL, NULL, err);
}
