/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree below a root, wave by wave: what is read of the tasks of a wave, and their
 * children opened, by several threads; then they are added in their order.
 */
#include "core/task/task.h"
#include "core/task/tree.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

#define EXEC_TRIES 200 /* 1 ms each */
#define CHUNK 8        /* children that a thread opens before it takes more */
#define DESCRIPTORS 2  /* that a task stays open by */

/* ---- children -------------------------------------------------------------------- */

/* The children that each of some tasks has. */
struct brood { pid_t *v; unsigned n; };
struct broods { struct brood *v; unsigned first; };

/* One that is not in the tree yet. */
struct child { pid_t pid; struct task *parent, *task; int r; struct crcore_error why; };
struct children { struct child *v; unsigned n; };

static int list_children(void *arg, struct task *t, struct crcore_error *err)
{
	const struct broods *of = arg;
	struct brood *b = &of->v[t->abi.index - of->first];
	int r = 0;

	for (unsigned i = 0; r != -ENOMEM && i < t->nthreads; i++) {
		struct crcore_error gone = CRCORE_ERROR_INIT;
		r = proc_children(t->proc, t->threads[i].tid, &b->v, &b->n, &gone);
	}
	return r == -ENOMEM ? crcore_no_memory(err) : 0;
}

static int list_new(const struct tree *tree, unsigned first, unsigned last, struct children *ret,
                    struct crcore_error *err)
{
	const unsigned n = last - first;
	cleanup_free struct brood *b = calloc(n + 1, sizeof(*b));
	struct broods all = { b, first };
	cleanup_free struct finding *f = b ? tasks_look(tree->tasks + first, n, list_children, &all)
	                                   : NULL;
	int r = f ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; f && i < n; i++) {
		if (f[i].r < 0)
			r = crcore_no_memory(err);
		for (unsigned k = 0; r == 0 && k < b[i].n; k++) {
			if (tree_find(tree, b[i].v[k]))
				continue;
			if (!GROW(ret->v, ret->n))
				r = crcore_no_memory(err);
			else
				ret->v[ret->n++] = (struct child){ b[i].v[k], tree->tasks[first + i],
					                           NULL, 0, CRCORE_ERROR_INIT };
		}
		free(b[i].v);
	}
	return r;
}

static void open_children(void *arg, size_t from, size_t to)
{
	const struct children *c = arg;

	for (size_t i = from; i < to; i++)
		c->v[i].r = task_open(c->v[i].pid, c->v[i].parent, &c->v[i].task, &c->v[i].why);
}

/* 1: it had gone. */
static int add_child(struct tree *tree, struct child *c, struct crcore_error *err)
{
	if (c->r == -ESRCH)
		return 1;
	if (c->r < 0) {
		*err = c->why;
		return c->r;
	}
	if (!tree_find(tree, c->pid)) /* it came to another parent while we looked */
		return tree_add(tree, STEAL(c->task), err);
	return 0;
}

int tree_add_children(struct tree *tree, unsigned first, unsigned last, struct crcore_error *err)
{
	struct children c = { NULL, 0 };
	bool gone = false;
	int r = list_new(tree, first, last, &c, err);

	if (r == 0 && c.n) {
		parallel_room(tree->tasks[0]->proc, DESCRIPTORS * c.n);
		parallel(c.n, CHUNK, open_children, &c);
	}
	for (unsigned i = 0; i < c.n; i++) {
		if (r >= 0 && (r = add_child(tree, &c.v[i], err)) > 0)
			gone = true;
		task_free(c.v[i].task);
	}
	free(c.v);
	return r < 0 ? r : gone;
}

/* ---- a tree that runs --------------------------------------------------------------- */

/* Of a first thread that has ended another may be about to take the place (execve(2)). */
static int await_leader(struct task *t, struct crcore_error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && t->leaderless && i < EXEC_TRIES; i++) {
		usleep(1000);
		r = task_refresh(t, err);
	}
	return r == 0 && t->leaderless ? task_refuse_leaderless(t, err) : r;
}

static int look(void *arg, struct task *t, struct crcore_error *err)
{
	int r = await_leader(t, err);

	return r == 0 ? task_threads(t, err) : r;
}

/* The threads of the tasks from first on. */
static int look_at_wave(struct tree *tree, unsigned first, struct crcore_error *err)
{
	const unsigned n = tree->ntasks - first;
	cleanup_free struct finding *f = tasks_look(tree->tasks + first, n, look, NULL);

	for (unsigned i = 0; f && i < n; i++) {
		struct task *t = tree->tasks[first + i];
		/* one that has ended since is left as a task without threads */
		if (f[i].r < 0 && (t == tree->tasks[0] || (f[i].r != -ESRCH && f[i].r != -ENOENT))) {
			*err = f[i].err;
			return f[i].r;
		}
		if (!t->nthreads)
			t->abi.state = CRCORE_TASK_ZOMBIE;
	}
	return f ? 0 : crcore_no_memory(err);
}

int tree_look(pid_t root, struct tree *ret, struct crcore_error *err)
{
	struct task *t;
	int r = task_open(root, NULL, &t, err);

	if (r == 0)
		r = tree_add(ret, t, err);
	for (unsigned first = 0, last; r >= 0 && first < ret->ntasks; first = last) {
		last = ret->ntasks;
		if ((r = look_at_wave(ret, first, err)) == 0)
			r = tree_add_children(ret, first, last, err);
	}
	if (r < 0)
		tree_free(ret);
	return r < 0 ? r : 0;
}
