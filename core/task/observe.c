/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only shows before a thread is stopped: since when it waits, and in
 * which system call, if the kernel has restarted that once already. The kernel
 * does not give back the end of a relative timeout; slept.c tells how much of it
 * has passed.
 *
 * All of this is a refinement: without it a wait starts over at the restore.
 */
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/task/arch/x86_64.h"
#include "core/task/slept.h"
#include "core/task/task.h"
#include "core/util/util.h"

struct observation {
	pid_t tid;
	int64_t nr;         /* the system call waited in */
	uint64_t sp, ip;    /* to recognise the same wait again */
	uint64_t slept_ns;
	uint64_t sleeps;    /* how often it has gone to sleep so far */
};

struct observations {
	struct observation *v;
	unsigned n;
};

/* Where no timeout was given there is nothing to know. */
static bool waits_by_clock(int64_t nr, const unsigned long long *arg)
{
	if (nr == SYS_poll)
		return (int)arg[2] >= 0;
	if (nr == SYS_futex)
		return arg[3] != 0;
	return nr == SYS_nanosleep || nr == SYS_clock_nanosleep || nr == SYS_restart_syscall;
}

/* Tells by where in the kernel a thread sleeps what a restart_syscall continues. */
static int64_t restarted_call(int proc, pid_t tid, uint64_t first_arg)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/wchan", tid);
	if (proc_read_whole(proc, path, &text, NULL, &ignored) < 0)
		return -1;
	if (strstr(text, "poll"))
		return SYS_poll;
	if (strstr(text, "futex"))
		return SYS_futex;
	if (!strcmp(text, "0")) /* it runs */
		return -1;
	/* A sleep is resumed by a tail call, of which no name remains. Its clock is a
	 * small number, a pointer is not. */
	return first_arg < PAGE ? SYS_clock_nanosleep : SYS_nanosleep;
}

static bool observe_thread(int proc, pid_t tid, struct sched_clocks *clocks,
                           struct observation *ret)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	unsigned long long arg[6], sp, ip;
	long long nr;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/syscall", tid);
	if (proc_read_whole(proc, path, &text, NULL, &ignored) < 0 ||
	    sscanf(text, "%lld %llx %llx %llx %llx %llx %llx %llx %llx", &nr, &arg[0], &arg[1],
	           &arg[2], &arg[3], &arg[4], &arg[5], &sp, &ip) != 9 ||
	    !waits_by_clock(nr, arg))
		return false;
	if (nr == SYS_restart_syscall)
		nr = restarted_call(proc, tid, arg[0]);
	*ret = (struct observation){ tid, nr, sp, ip, 0, 0 };
	ret->slept_ns = slept_ns(clocks, proc, tid, &ret->sleeps);
	return true;
}

struct observations *observe_waits(const struct tree *tree)
{
	struct observations *o = calloc(1, sizeof(*o));
	struct sched_clocks *clocks = o ? sched_clocks_new() : NULL;

	for (unsigned i = 0; clocks && i < tree->ntasks; i++) {
		const struct task *t = tree->tasks[i];
		for (unsigned k = 0; k < t->nthreads; k++) {
			struct observation one;
			if (!observe_thread(t->proc, t->threads[k].tid, clocks, &one))
				continue;
			if (GROW(o->v, o->n))
				o->v[o->n++] = one;
		}
	}
	sched_clocks_free(clocks);
	return o;
}

static struct observation *find_observation(struct observations *o, pid_t tid)
{
	for (unsigned i = 0; i < o->n; i++)
		if (o->v[i].tid == tid)
			return &o->v[i];
	return NULL;
}

/* A call that the stop interrupted, and that the kernel will restart by another number. */
static void note_interrupted(struct observations *o, const struct thread *t)
{
	arch_regs regs;

	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) < 0 ||
	    arch_result(&regs) != -ERESTART_RESTARTBLOCK || arch_syscall(&regs) == SYS_restart_syscall)
		return;
	struct observation now = { t->tid, arch_syscall(&regs), arch_sp(&regs), arch_ip(&regs), 0, 0 };
	struct observation *one = find_observation(o, t->tid);
	if (one && one->sp == now.sp && one->ip == now.ip)
		one->nr = now.nr;
	else if (one)
		*one = now;
	else if (GROW(o->v, o->n))
		o->v[o->n++] = now;
}

void observe_stopped(struct observations *o, const struct tree *tree)
{
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

static int by_tid(const void *a, const void *b)
{
	const struct observation *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

void observations_apply(const struct observations *o, struct tree *tree)
{
	if (o && o->n)
		qsort(o->v, o->n, sizeof(*o->v), by_tid);
	for (unsigned i = 0; i < tree->ntasks; i++)
		for (unsigned k = 0; k < tree->tasks[i]->nthreads; k++) {
			struct thread *t = &tree->tasks[i]->threads[k];
			struct observation key = { .tid = t->tid }, *one = NULL;
			t->restarted_nr = -1;
			if (o && o->n)
				one = bsearch(&key, o->v, o->n, sizeof(*o->v), by_tid);
			if (!one || one->sp != arch_sp(&t->regs) || one->ip != arch_ip(&t->regs))
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
