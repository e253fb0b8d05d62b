/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Did a tree that is not stopped stand still by itself for a while? Each thread is found asleep at
 * the beginning and at the end, and the kernel has not switched from it to another in between; so
 * it has not run at all. What was seen of such a tree is as true as of a frozen one, but for one
 * thing: a thread that sleeps in a system call may keep open what another has closed, and lets go
 * of it when it is stopped.
 */
#include <sys/syscall.h>
#include "core/task/quiet.h"
#include "core/util/util.h"

/* Calls that wait, and meanwhile keep no description open on which the state of another depends. */
static bool keeps_nothing(long nr)
{
	static const long nrs[] = {
		-1, SYS_futex, SYS_nanosleep, SYS_clock_nanosleep, SYS_pause, SYS_wait4, SYS_waitid,
		SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_epoll_wait, SYS_epoll_pwait,
		SYS_epoll_pwait2,
	};

	for (size_t i = 0; i < ARRAY_SIZE(nrs); i++)
		if (nrs[i] == nr)
			return true;
	return false;
}

/* How often it was switched from, by its will or not. */
static bool read_switches(const struct task *t, pid_t tid, uint64_t *ret)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/status", tid);
	if (proc_read(t->proc, path, &text, NULL, &ignored) < 0)
		return false;
	const char *by_will = proc_field(text, "voluntary_ctxt_switches");
	const char *other = proc_field(text, "nonvoluntary_ctxt_switches");
	if (!by_will || !other)
		return false;
	*ret = strtoull(by_will, NULL, 10) + strtoull(other, NULL, 10);
	return true;
}

/* The kernel tells a call only of a thread that it has found asleep (proc_pid_syscall(5)). */
static bool read_call(const struct task *t, pid_t tid, long *ret)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/syscall", tid);
	return proc_read(t->proc, path, &text, NULL, &ignored) == 0 && sscanf(text, "%ld", ret) == 1;
}

struct looking {
	struct quiet_thread *v;
	unsigned *first; /* of each task: where its threads begin */
};

static int look_at_task(void *arg, struct task *t, struct crcore_error *err)
{
	const struct looking *l = arg;
	struct quiet_thread *v = l->v + l->first[t->abi.index];

	for (unsigned i = 0; i < t->nthreads; i++) {
		pid_t tid = t->threads[i].tid;
		uint64_t before = 0, after = 0;
		long nr = 0;
		bool sleeps = read_switches(t, tid, &before) && read_call(t, tid, &nr) &&
		              read_switches(t, tid, &after) && before == after;
		v[i] = (struct quiet_thread){ tid, sleeps, sleeps && keeps_nothing(nr), before };
	}
	return 0;
}

int quiet_look(const struct tree *tree, struct quiet *ret, struct crcore_error *err)
{
	cleanup_free unsigned *first = calloc(tree->ntasks + 1, sizeof(*first));
	unsigned n = 0;

	for (unsigned i = 0; first && i < tree->ntasks; i++) {
		first[i] = n;
		n += tree->tasks[i]->nthreads;
	}
	struct quiet_thread *v = calloc(n + 1, sizeof(*v));
	struct looking l = { v, first };
	cleanup_free struct finding *f = first && v ? tasks_look(tree->tasks, tree->ntasks,
	                                                         look_at_task, &l) : NULL;
	if (!f) {
		free(v);
		return crcore_no_memory(err);
	}
	*ret = (struct quiet){ v, n };
	return 0;
}

void quiet_free(struct quiet *q)
{
	free(q->v);
	*q = (struct quiet){ 0 };
}

bool quiet_since(const struct quiet *q, const struct quiet *before)
{
	bool same = q->n == before->n;

	for (unsigned i = 0; same && i < q->n; i++) {
		const struct quiet_thread *a = &before->v[i], *b = &q->v[i];
		same = a->tid == b->tid && a->sleeps && b->sleeps && a->switches == b->switches;
	}
	return same;
}

static bool shares_table(const struct tree *tree, const struct task *t)
{
	for (unsigned i = 0; i < tree->ntasks; i++)
		if (tree->tasks[i] != t && tree->tasks[i]->rec->files == t->rec->files)
			return true;
	return t->nthreads > 1;
}

bool quiet_keeps_nothing(const struct quiet *q, const struct tree *tree)
{
	unsigned k = 0;

	for (unsigned i = 0; i < tree->ntasks; i++) {
		const struct task *t = tree->tasks[i];
		bool nothing = true;
		for (unsigned end = k + t->nthreads; k < end; k++)
			nothing = nothing && k < q->n && q->v[k].keeps_nothing;
		if (!nothing && shares_table(tree, t))
			return false;
	}
	return true;
}
