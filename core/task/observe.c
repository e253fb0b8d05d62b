/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only shows before a thread is stopped: since when it waits, and in
 * which system call, if the kernel has restarted that once already. The kernel
 * does not give back the end of a relative timeout; slept.c tells how much of it
 * has passed.
 *
 * All of this is a refinement: without it a wait starts over at the restore.
 */
#include <inttypes.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/task/arch/x86_64.h"
#include "core/task/restart.h"
#include "core/task/slept.h"
#include "core/task/task.h"
#include "core/util/util.h"

#define HEX " %" SCNx64

struct observation {
	pid_t tid;
	int64_t nr;         /* the system call waited in, -1: unknown */
	uint64_t args[6];   /* these three to recognise the same wait again */
	uint64_t sp, ip;
	uint64_t slept_ns;
	uint64_t sleeps;    /* how often it has gone to sleep so far */
};

struct observations {
	struct observation *v;
	unsigned n;
	unsigned sorted;    /* so many of the first, by tid; those behind were added since */
};

/* Where no timeout was given there is nothing to know. */
static bool waits_by_clock(int64_t nr, const uint64_t *arg)
{
	if (nr == SYS_poll)
		return (int)arg[2] >= 0;
	if (nr == SYS_futex)
		return arg[3] != 0;
	return nr == SYS_nanosleep || nr == SYS_clock_nanosleep || nr == SYS_restart_syscall;
}

static bool observe_thread(int proc, pid_t tid, struct observation *ret)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct observation o = { .tid = tid };
	uint64_t *a = o.args;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/syscall", tid);
	if (proc_read_whole(proc, path, &text, NULL, &ignored) < 0 ||
	    sscanf(text, "%" SCNd64 HEX HEX HEX HEX HEX HEX HEX HEX, &o.nr, &a[0], &a[1], &a[2],
	           &a[3], &a[4], &a[5], &o.sp, &o.ip) != 9 ||
	    !waits_by_clock(o.nr, a))
		return false;
	if (o.nr == SYS_restart_syscall)
		o.nr = restarted_call(proc, tid, o.ip, a[0]);
	*ret = o;
	return true;
}

/* of: of all tasks, by their index. */
static int observe_task(void *of, struct task *t, struct crcore_error *err)
{
	struct observations *o = (struct observations *)of + t->abi.index;
	struct observation one;

	for (unsigned i = 0; i < t->nthreads; i++)
		if (observe_thread(t->proc, t->threads[i].tid, &one) && GROW(o->v, o->n))
			o->v[o->n++] = one;
	return 0;
}

/* Clocks are read on the processors that they are of, so by one thread of ours. */
static void measure(struct observations *o, const struct observations *of, const struct tree *tree)
{
	struct sched_clocks *clocks = sched_clocks_new();

	for (unsigned i = 0; clocks && i < tree->ntasks; i++)
		for (unsigned k = 0; k < of[i].n; k++) {
			struct observation one = of[i].v[k];
			one.slept_ns = slept_ns(clocks, tree->tasks[i]->proc, one.tid, &one.sleeps);
			if (GROW(o->v, o->n))
				o->v[o->n++] = one;
		}
	sched_clocks_free(clocks);
}

static int by_tid(const void *a, const void *b)
{
	const struct observation *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static void sort(struct observations *o)
{
	if (o->n > o->sorted)
		qsort(o->v, o->n, sizeof(*o->v), by_tid);
	o->sorted = o->n;
}

struct observations *observe_waits(const struct tree *tree)
{
	struct observations *o = calloc(1, sizeof(*o));
	cleanup_free struct observations *of = calloc(tree->ntasks + 1, sizeof(*of));

	if (!o || !of)
		return o;
	free(tasks_look(tree->tasks, tree->ntasks, observe_task, of));
	measure(o, of, tree);
	sort(o);
	for (unsigned i = 0; i < tree->ntasks; i++)
		free(of[i].v);
	return o;
}

/* Not among those that were added since: each of these is of a thread that is met but once. */
static struct observation *find_observation(const struct observations *o, pid_t tid)
{
	const struct observation key = { .tid = tid };

	return o->sorted ? bsearch(&key, o->v, o->sorted, sizeof(*o->v), by_tid) : NULL;
}

static struct observation as_stopped(pid_t tid, const arch_regs *regs)
{
	struct observation o = { tid, arch_syscall(regs), { 0 }, arch_sp(regs), arch_ip(regs), 0, 0 };

	for (int i = 0; i < 6; i++)
		o.args[i] = arch_syscall_arg(regs, i);
	return o;
}

static bool is_same_wait(const struct observation *a, const struct observation *b)
{
	return a->sp == b->sp && a->ip == b->ip && !memcmp(a->args, b->args, sizeof(a->args));
}

/* A call that the stop interrupted, and that the kernel will restart by another number. */
static void note_interrupted(struct observations *o, const struct thread *t)
{
	arch_regs regs;

	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) < 0 ||
	    arch_result(&regs) != -ERESTART_RESTARTBLOCK || arch_syscall(&regs) == SYS_restart_syscall)
		return;
	struct observation now = as_stopped(t->tid, &regs);
	struct observation *one = find_observation(o, t->tid);
	if (one && is_same_wait(one, &now))
		one->nr = now.nr;
	else if (one)
		*one = now;
	else if (GROW(o->v, o->n))
		o->v[o->n++] = now;
}

void observe_stopped(struct observations *o, const struct tree *tree)
{
	if (o)
		sort(o);
	for (unsigned i = 0; o && i < tree->ntasks; i++)
		for (unsigned k = 0; k < tree->tasks[i]->nthreads; k++)
			note_interrupted(o, &tree->tasks[i]->threads[k]);
}

/* A thread that was just stopped, and has not run since, is not seen to wait. */
struct observations *observe_again(const struct tree *tree, struct observations *before)
{
	struct observations *now = observe_waits(tree);

	for (unsigned i = 0; now && before && i < before->n; i++) {
		const struct observation *b = &before->v[i];
		struct observation *one = find_observation(now, b->tid);
		if (one && one->nr < 0)
			one->nr = b->nr;
		else if (!one && GROW(now->v, now->n))
			now->v[now->n++] = *b;
	}
	observations_free(before);
	return now;
}

void observations_apply(struct observations *o, struct tree *tree)
{
	if (o)
		sort(o);
	for (unsigned i = 0; i < tree->ntasks; i++)
		for (unsigned k = 0; k < tree->tasks[i]->nthreads; k++) {
			struct thread *t = &tree->tasks[i]->threads[k];
			const struct observation now = as_stopped(t->tid, &t->regs);
			const struct observation *one = o ? find_observation(o, t->tid) : NULL;
			t->restarted_nr = -1;
			if (!one || !is_same_wait(one, &now))
				continue;
			t->slept_ns = one->slept_ns;
			t->sleeps = one->sleeps;
			t->restarted_nr = one->nr;
		}
}

void observations_free(struct observations *o)
{
	if (o)
		free(o->v);
	free(o);
}
