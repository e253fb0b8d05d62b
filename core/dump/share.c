/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tasks share what: address space, descriptor table, directories and
 * umask, signal actions (clone(2) CLONE_VM, FILES, FS, SIGHAND). kcmp(2) gives
 * an order, so that 10,000 tasks are sorted, not compared pair by pair. It stays the
 * same while resources live, so an order found when the tree ran is only checked. Where the kernel
 * told the addresses of what tasks have (core/task/alike.h), they are in the order of these.
 */
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

struct sharing {
	int type;
	enum alike_what what;
	bool known;            /* what they have in common is */
	const uint32_t *mms;   /* by task: those with different ones do not share it; or NULL */
	int error;
};

/* As kcmp(2) says it. */
static long in_order(uint64_t x, uint64_t y)
{
	return x == y ? 0 : x < y ? 1 : 2;
}

static long compare(const struct task *a, const struct task *b, struct sharing *s)
{
	if (s->known)
		return in_order(a->alike.v[s->what], b->alike.v[s->what]);
	if (s->mms && s->mms[a->abi.index] != s->mms[b->abi.index])
		return in_order(s->mms[a->abi.index], s->mms[b->abi.index]);
	long r = a == b ? 0 : syscall(SYS_kcmp, a->abi.pid, b->abi.pid, s->type, 0, 0);

	if (r < 0)
		s->error = -errno;
	return r;
}

static int by_resource(const void *a, const void *b, void *arg)
{
	long r = compare(*(struct task *const *)a, *(struct task *const *)b, arg);

	return r == 0 ? 0 : r == 1 ? -1 : 1;
}

/* Gives tasks with one resource one rank, if they are in its order. */
static bool rank_tasks(struct task *const *v, unsigned n, struct sharing *s, uint32_t *rank)
{
	bool sorted = true;

	for (unsigned i = 0, r = 0; i < n; i++) {
		long how = i == 0 ? 1 : compare(v[i - 1], v[i], s);
		r += how != 0;
		sorted = sorted && how >= 0 && how <= 1;
		rank[v[i]->abi.index] = r;
	}
	return sorted;
}

/* All tasks that have resources, those of the order first. */
static unsigned list_tasks(const struct tree *tree, const struct order *order, uint32_t *listed,
                           struct task **v)
{
	unsigned n = 0;

	for (unsigned i = 0; i < order->n + tree->ntasks; i++) {
		struct task *t = i < order->n ? tree_find(tree, order->v[i])
		                              : tree->tasks[i - order->n];
		if (!t || t->abi.state == CRCORE_TASK_ZOMBIE || listed[t->abi.index])
			continue;
		listed[t->abi.index] = 1;
		v[n++] = t;
	}
	return n;
}

static bool keep_order(struct order *order, struct task *const *v, unsigned n)
{
	free(order->v);
	order->v = malloc((n + 1) * sizeof(*order->v));
	order->n = order->v ? n : 0;
	for (unsigned i = 0; i < order->n; i++)
		order->v[i] = v[i]->abi.pid;
	return order->v;
}

/* ids[i] is the group of tree->tasks[i], from 1 in order of first appearance;
 * 0 for zombies, which have nothing. */
static int group(const struct tree *tree, struct sharing s, struct order *order, uint32_t *ids,
                 uint32_t *ret_n, struct crcore_error *err)
{
	cleanup_free struct task **v = calloc(tree->ntasks + 1, sizeof(*v));
	cleanup_free uint32_t *rank = calloc(tree->ntasks + 1, sizeof(*rank));
	cleanup_free uint32_t *seen = calloc(tree->ntasks + 1, sizeof(*seen));

	if (!v || !rank || !seen)
		return crcore_no_memory(err);
	unsigned n = list_tasks(tree, order, rank, v);
	if (!order->n || !rank_tasks(v, n, &s, rank)) {
		qsort_r(v, n, sizeof(*v), by_resource, &s);
		rank_tasks(v, n, &s, rank);
	}
	if (!keep_order(order, v, n))
		return crcore_no_memory(err);
	if (s.error)
		return crcore_fail(err, s.error, "cannot compare tasks (kcmp): %s", strerror(-s.error));
	*ret_n = 0;
	for (unsigned i = 0; i < tree->ntasks; i++)
		if (rank[i]) {
			if (!seen[rank[i]])
				seen[rank[i]] = ++*ret_n;
			ids[i] = seen[rank[i]];
		}
	return 0;
}

/* One of what tasks may share. */
struct grouping {
	const struct tree *tree;
	struct sharing how;
	struct order *order;
	uint32_t *ids, n;
	int r;
	struct crcore_error err;
};

static void group_range(void *arg, size_t from, size_t to)
{
	for (struct grouping *g = (struct grouping *)arg + from; g < (struct grouping *)arg + to; g++)
		g->r = group(g->tree, g->how, g->order, g->ids, &g->n, &g->err);
}

static bool is_known(const struct tree *tree)
{
	for (unsigned i = 0; i < tree->ntasks; i++)
		if (!tree->tasks[i]->alike.known && tree->tasks[i]->abi.state != CRCORE_TASK_ZOMBIE)
			return false;
	return true;
}

#define WORTH 32 /* tasks: to sort them takes as long as to start a thread */

/* Signal actions are shared only by those that share an address space (clone(2)), so they are
 * last. */
static int group_all(struct survey *s, uint32_t *ids, uint32_t n[4], struct crcore_error *err)
{
	static const int type[4] = { KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND };
	const struct tree *tree = &s->tree;
	const bool known = is_known(tree);
	struct grouping g[4];
	int r = 0;

	for (unsigned i = 0; i < 4; i++)
		g[i] = (struct grouping){ tree, { type[i], ALIKE_MM + i, known, i == 3 ? ids : NULL, 0 },
			                  &s->orders.of[i], ids + i * tree->ntasks, 0, 0,
			                  CRCORE_ERROR_INIT };
	if (known || tree->ntasks < WORTH || s->orders.of[0].n) /* their order is known */
		group_range(g, 0, 3);
	else
		parallel_few(3, group_range, g);
	group_range(g, 3, 4);
	for (unsigned i = 0; i < 4; i++) {
		if (r == 0 && (r = g[i].r) < 0)
			*err = g[i].err;
		n[i] = g[i].n;
	}
	return r;
}

/* ---- the records behind the ids ------------------------------------------------- */

static int add_mm(struct tree *tree, struct task *t, uint32_t id, struct crcore_error *err)
{
	if (id <= tree->nmms) {
		t->mm = tree->mms[id - 1];
		return 0;
	}
	struct mm *mm = calloc(1, sizeof(*mm));
	if (!mm || !(mm->rec = malloc(sizeof(*mm->rec))) || !GROW(tree->mms, tree->nmms)) {
		if (mm)
			free(mm->rec);
		free(mm);
		return crcore_no_memory(err);
	}
	crcore__mm__init(mm->rec);
	mm->rec->id = mm->id = id;
	mm->task = t;
	tree->mms[tree->nmms++] = mm;
	t->mm = mm;
	return 0;
}

#define NEW_RECORDS(array, count, n, type, init) ({ \
	bool ok_ = ((array) = calloc((n) + 1, sizeof(*(array)))) != NULL; \
	for (uint32_t i_ = 0; ok_ && i_ < (n); i_++) { \
		type *rec_ = malloc(sizeof(*rec_)); \
		if (!(ok_ = rec_ != NULL)) \
			break; \
		init(rec_); \
		rec_->id = i_ + 1; \
		(array)[(count)++] = rec_; \
	} \
	ok_; })

void orders_free(struct orders *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(o->of); i++)
		free(o->of[i].v);
	*o = (struct orders){ 0 };
}

int survey_sharing(struct survey *s, struct crcore_error *err)
{
	struct tree *tree = &s->tree;
	uint32_t n[4];
	cleanup_free uint32_t *ids = calloc(4 * (size_t)tree->ntasks + 1, sizeof(*ids));
	int r = ids ? group_all(s, ids, n, err) : crcore_no_memory(err);

	if (r < 0)
		return r;
	if (!NEW_RECORDS(s->files, s->nfiles, n[1], Crcore__Files, crcore__files__init) ||
	    !NEW_RECORDS(s->fs, s->nfs, n[2], Crcore__Fs, crcore__fs__init) ||
	    !NEW_RECORDS(s->sighands, s->nsighands, n[3], Crcore__Sighand, crcore__sighand__init))
		return crcore_no_memory(err);
	for (unsigned i = 0; r == 0 && i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		if (t->abi.state == CRCORE_TASK_ZOMBIE)
			continue;
		t->rec->mm = ids[i];
		t->rec->files = ids[tree->ntasks + i];
		t->rec->fs = ids[2 * tree->ntasks + i];
		t->rec->sighand = ids[3 * tree->ntasks + i];
		t->sighand = s->sighands[t->rec->sighand - 1];
		r = add_mm(tree, t, t->rec->mm, err);
	}
	return r;
}
