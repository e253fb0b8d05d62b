/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same step for every task, by several threads where it only looks. What has to
 * do with tracing stays with the thread that traces (ptrace(2)).
 */
#include "core/task/task.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

#define CHUNK 8 /* tasks that a thread looks at before it takes more */

struct step {
	struct task *const *tasks;
	int (*fn)(void *arg, struct task *, struct crcore_error *);
	void *arg;
	struct finding *v;
};

static void do_range(void *arg, size_t from, size_t to)
{
	const struct step *s = arg;

	for (size_t i = from; i < to; i++) {
		s->v[i].err = (struct crcore_error)CRCORE_ERROR_INIT;
		s->v[i].r = s->fn(s->arg, s->tasks[i], &s->v[i].err);
	}
}

struct finding *tasks_look(struct task *const *v, unsigned n,
                           int (*fn)(void *arg, struct task *, struct crcore_error *), void *arg)
{
	struct step s = { v, fn, arg, malloc((n + 1) * sizeof(*s.v)) };

	if (s.v)
		parallel(n, CHUNK, do_range, &s);
	return s.v;
}
