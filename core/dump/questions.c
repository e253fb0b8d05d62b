/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ask stage: one program per thread with all that only it can tell, run in
 * all tasks at once; then, as long as a plugin wants to know more, another
 * program for the tasks concerned.
 */
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

int questions_write(struct questions *q, struct crcore_error *err)
{
	int r = host_series_start(q->host, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < q->tree->ntasks; i++) {
		struct task *t = q->tree->tasks[i];
		if (t->nthreads && (r = task_ask(t, &q->witnesses, err)) == 0)
			r = host_ask(q->host, &t->abi, t->threads[0].ask, err);
	}
	host_series_stop(q->host);
	witnesses_tell(&q->witnesses);
	return r;
}

/* ---- the first round ---------------------------------------------------------------------- */

#define CHUNK 8 /* address spaces that a thread of ours sees to before it takes more */

/* The tasks of mms[i] are v[from[i]] to v[from[i + 1] - 1], in their order. */
struct users {
	const struct tree *tree;
	struct task **v;
	unsigned *from;
	struct finding *found; /* of each address space */
};

static int find_users(const struct tree *tree, struct users *u, struct crcore_error *err)
{
	u->tree = tree;
	u->v = calloc(tree->ntasks + 1, sizeof(*u->v));
	u->from = calloc(tree->nmms + 2, sizeof(*u->from));
	u->found = calloc(tree->nmms + 1, sizeof(*u->found));
	if (!u->v || !u->from || !u->found)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < tree->ntasks; i++)
		if (tree->tasks[i]->mm)
			u->from[tree->tasks[i]->mm->id + 1]++;
	for (unsigned i = 2; i < tree->nmms + 2; i++) /* ids count from 1 */
		u->from[i] += u->from[i - 1];
	for (unsigned i = 0; i < tree->ntasks; i++)
		if (tree->tasks[i]->mm)
			u->v[u->from[tree->tasks[i]->mm->id]++] = tree->tasks[i];
	return 0;
}

static void forget_users(struct users *u)
{
	free(u->v);
	free(u->from);
	free(u->found);
}

static void open_range(void *arg, size_t from, size_t to)
{
	const struct users *u = arg;

	for (size_t i = from; i < to; i++) {
		struct mm *mm = u->tree->mms[i];
		size_t size = 0;
		for (unsigned k = u->from[i]; k < u->from[i + 1]; k++)
			for (unsigned n = 0; n < u->v[k]->nthreads; n++)
				size += inject_need(u->v[k]->threads[n].ask);
		u->found[i].err = (struct crcore_error)CRCORE_ERROR_INIT;
		u->found[i].r = inject_open(mm->task->threads, size, &mm->inject, &u->found[i].err);
	}
}

static void place_range(void *arg, size_t from, size_t to)
{
	const struct users *u = arg;

	for (size_t i = from; i < to; i++)
		for (unsigned k = u->from[i]; k < u->from[i + 1]; k++)
			for (unsigned n = 0; u->found[i].r == 0 && n < u->v[k]->nthreads; n++) {
				struct thread *t = &u->v[k]->threads[n];
				u->found[i].r = inject_place(u->tree->mms[i]->inject, t, t->ask,
				                             &u->found[i].err);
			}
}

static int each_mm(struct users *u, void (*fn)(void *, size_t, size_t), struct crcore_error *err)
{
	parallel(u->tree->nmms, CHUNK, fn, u);
	for (unsigned i = 0; i < u->tree->nmms; i++)
		if (u->found[i].r < 0) {
			*err = u->found[i].err;
			return u->found[i].r;
		}
	return 0;
}

static int place_all(struct questions *q, struct crcore_error *err)
{
	struct users u = { .v = NULL };
	int r = find_users(q->tree, &u, err);

	if (r == 0)
		r = each_mm(&u, open_range, err);
	for (unsigned i = 0; i < q->tree->nmms; i++) {
		if (!q->tree->mms[i]->inject)
			continue;
		if (GROW(q->injects, q->ninjects)) {
			q->injects[q->ninjects++] = q->tree->mms[i]->inject;
		} else {
			inject_close(q->tree->mms[i]->inject);
			r = crcore_no_memory(err);
		}
	}
	if (r == 0)
		r = inject_map(q->injects, q->ninjects, err);
	if (r == 0)
		r = each_mm(&u, place_range, err);
	forget_users(&u);
	return r;
}

/* ---- later rounds ----------------------------------------------------------------------- */

/* One more program for a task, if a plugin wants to know more. A region of its own
 * for each: few tasks have one. */
static int open_again(struct questions *q, struct task *t, struct crcore_error *err)
{
	prog *p = GROW(q->again, q->nagain) && GROW(q->injects, q->ninjects) ? prog_new() : NULL;

	if (!p)
		return crcore_no_memory(err);
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
	witnesses_free(&q->witnesses);
	return r;
}

void questions_leave(struct questions *q)
{
	inject_leave(q->injects, q->ninjects);
}
