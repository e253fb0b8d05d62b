/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same step for every task, by several threads where it only looks. What has to
 * do with tracing stays with the thread that traces (ptrace(2)).
 */
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"
#include "core/util/util.h"

#define CHUNK 8 /* tasks that a thread looks at before it takes more */

struct step {
	const struct tree *tree;
	int (*fn)(void *arg, struct task *, struct crcore_error *);
	void *arg;
	struct outcome *v;
};

static void do_range(void *arg, size_t from, size_t to)
{
	const struct step *s = arg;

	for (size_t i = from; i < to; i++) {
		s->v[i].err = (struct crcore_error)CRCORE_ERROR_INIT;
		s->v[i].r = s->fn(s->arg, s->tree->tasks[i], &s->v[i].err);
	}
}

struct outcome *tasks_look(const struct tree *tree,
                           int (*fn)(void *arg, struct task *, struct crcore_error *), void *arg)
{
	struct step s = { tree, fn, arg, malloc((tree->ntasks + 1) * sizeof(*s.v)) };

	if (s.v)
		parallel(tree->ntasks, CHUNK, do_range, &s);
	return s.v;
}

/* ---- records ----------------------------------------------------------------------- */

static int collect(void *arg, struct task *t, struct crcore_error *err)
{
	uint64_t start = trace_start();
	int r = task_collect(t, err);

	trace_end(start, t->abi.pid, "task", "collect");
	return r;
}

int survey_collect(struct survey *s, struct crcore_error *err)
{
	cleanup_free struct outcome *v = tasks_look(&s->tree, collect, NULL);

	if (!v)
		return crcore_fail(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < s->tree.ntasks; i++) {
		struct task *t = s->tree.tasks[i];
		if (v[i].r < 0)
			*err = v[i].err;
		int r = v[i].r < 0 ? v[i].r : task_collect_state(t, err);
		if (r < 0)
			return r;
		trace_task(t->abi.pid, t->comm);
	}
	return 0;
}
