/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ask stage: one program per thread with all that only it can tell, run in
 * all tasks at once; then, as long as a plugin wants to know more, another
 * program for the tasks concerned.
 */
#include "core/dump/dump.h"
#include "core/util/util.h"

int questions_write(struct questions *q, struct crcore_error *err)
{
	int r = host_series_start(q->host, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < q->tree->ntasks; i++) {
		struct task *t = q->tree->tasks[i];
		if (t->nthreads && (r = task_ask(t, err)) == 0)
			r = host_ask(q->host, &t->abi, t->threads[0].ask, err);
	}
	host_series_stop(q->host);
	return r;
}

/* Bytes of region that the programs of all threads of an address space need. */
static size_t region_size(const struct tree *tree, const struct mm *mm)
{
	size_t size = 0;

	for (unsigned i = 0; i < tree->ntasks; i++)
		for (unsigned k = 0; tree->tasks[i]->mm == mm && k < tree->tasks[i]->nthreads; k++)
			size += inject_need(tree->tasks[i]->threads[k].ask);
	return size;
}

static int place_all(struct questions *q, struct crcore_error *err)
{
	struct tree *tree = q->tree;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < tree->nmms; i++) {
		struct mm *mm = tree->mms[i];
		if (!GROW(q->injects, q->ninjects))
			return crcore_fail(err, -ENOMEM, "out of memory");
		r = inject_open(mm->task->threads, region_size(tree, mm), &mm->inject, err);
		if (r == 0)
			q->injects[q->ninjects++] = mm->inject;
	}
	if (r == 0)
		r = inject_map(q->injects, q->ninjects, err);
	for (unsigned i = 0; r == 0 && i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		for (unsigned k = 0; r == 0 && k < t->nthreads; k++)
			r = inject_place(t->mm->inject, &t->threads[k], t->threads[k].ask, err);
	}
	return r;
}

/* ---- later rounds ----------------------------------------------------------------------- */

/* One more program for a task, if a plugin wants to know more. A region of its own
 * for each: few tasks have one. */
static int open_again(struct questions *q, struct task *t, struct crcore_error *err)
{
	prog *p = GROW(q->again, q->nagain) && GROW(q->injects, q->ninjects) ? prog_new() : NULL;

	if (!p)
		return crcore_fail(err, -ENOMEM, "out of memory");
	q->again[q->nagain++] = (struct again){ t->threads, p };
	int r = host_ask_again(q->host, &t->abi, p, err);
	if (r < 0 || !prog_nops(p)) {
		prog_free(q->again[--q->nagain].prog);
		return r;
	}
	r = inject_open(t->threads, inject_need(p), &q->injects[q->ninjects], err);
	q->ninjects += r == 0;
	return r;
}

static int ask_round(struct questions *q, uint64_t timeout_ns, unsigned *ret_asked,
                     struct crcore_error *err)
{
	unsigned before = q->ninjects, first = q->nagain;
	int r = host_series_start(q->host, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < q->tree->ntasks; i++)
		if (q->tree->tasks[i]->nthreads)
			r = open_again(q, q->tree->tasks[i], err);
	host_series_stop(q->host);
	*ret_asked = q->ninjects - before;
	if (r < 0 || !*ret_asked ||
	    (r = inject_map(q->injects + before, *ret_asked, err)) < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < *ret_asked; i++)
		r = inject_place(q->injects[before + i], q->again[first + i].thread,
		                 q->again[first + i].prog, err);
	if (r == 0)
		r = inject_run(q->injects + before, *ret_asked, timeout_ns, err);
	if (r == 0)
		inject_leave(q->injects + before, *ret_asked);
	return r;
}

/* ---- all of it ---------------------------------------------------------------------------- */

int questions_run(struct questions *q, uint64_t timeout_ns, struct crcore_error *err)
{
	unsigned asked = 1;
	int r = place_all(q, err);

	if (r == 0)
		r = inject_run(q->injects, q->ninjects, timeout_ns, err);
	/* The answers are ours already: should we be killed later, nothing of us is left there. */
	if (r == 0)
		inject_leave(q->injects, q->ninjects);
	for (int round = 0; r == 0 && asked && round < CRCORE_ROUNDS; round++)
		r = ask_round(q, timeout_ns, &asked, err);
	return r;
}

int questions_answers(struct questions *q, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < q->tree->ntasks; i++)
		r = task_answers(q->tree->tasks[i], err);
	return r;
}

void questions_leave(struct questions *q)
{
	inject_leave(q->injects, q->ninjects);
	for (unsigned i = 0; i < q->ninjects; i++)
		inject_close(q->injects[i]);
	q->ninjects = 0;
}

void questions_free(struct questions *q)
{
	for (unsigned i = 0; i < q->nagain; i++)
		prog_free(q->again[i].prog);
	free(q->again);
	free(q->injects);
	*q = (struct questions){ 0 };
}
