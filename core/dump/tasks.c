/* SPDX-License-Identifier: Apache-2.0 */
/* The records of all tasks of a frozen tree, as far as they can be read from outside. */
#include "core/dump/dump.h"
#include "core/util/trace.h"
#include "core/util/util.h"

static int collect(void *arg, struct task *t, struct crcore_error *err)
{
	uint64_t start = trace_start();
	int r = task_collect(t, err);

	trace_end(start, t->abi.pid, "task", "collect");
	return r;
}

int survey_collect(struct survey *s, struct crcore_error *err)
{
	cleanup_free struct finding *v = tasks_look(s->tree.tasks, s->tree.ntasks, collect, NULL);

	if (!v)
		return crcore_no_memory(err);
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
