/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_validate_core(): the one check of all core records together. What it
 * promises stands in core_records.h; restore builds on that without looking
 * again, so a check that is dropped here is a crash or worse there.
 */
#include "core/image/records_priv.h"

static int build_index(struct core_records *c, struct crcore_error *err)
{
	struct core_index *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return crcore_no_memory(err);
	core_index_free(c->index);
	c->index = x;
	r = core_index_add(x, SORT_TASK, c->tasks, c->ntasks, err);
	if (r == 0)
		r = core_index_add(x, SORT_MM, c->mms, c->nmms, err);
	if (r == 0)
		r = core_index_add(x, SORT_FILES, c->files, c->nfiles, err);
	if (r == 0)
		r = core_index_add(x, SORT_FS, c->fs, c->nfs, err);
	if (r == 0)
		r = core_index_add(x, SORT_SIGHAND, c->sighands, c->nsighands, err);
	if (r == 0)
		r = core_index_add(x, SORT_OBJECT, c->objects, c->nobjects, err);
	if (r == 0)
		r = core_index_add(x, SORT_SEGMENT, c->segments, c->nsegments, err);
	return r;
}

/* A parent stands before its children, so there is one root and no cycle. */
static int check_parent(const struct core_records *c, unsigned i, struct crcore_error *err)
{
	const Crcore__Task *t = c->tasks[i];
	const struct index_entry *e = core_index_find(c->index, SORT_TASK, t->ppid);

	if (i == 0)
		return e ? BAD(err, "the root's parent is in the tree") : 0;
	if (!e || e->pos >= i)
		return BAD(err, "its parent %u does not stand before it", t->ppid);
	if (c->tasks[e->pos]->state == CRCORE__TASK_STATE__ZOMBIE)
		return BAD(err, "its parent %u is a zombie", t->ppid);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* No number is used twice, be it a process or a thread. */
static int check_numbers(const struct core_records *c, struct crcore_error *err)
{
	size_t n = 0, max = 1;

	for (unsigned i = 0; i < c->ntasks; i++)
		max += c->tasks[i]->n_threads + 1;
	cleanup_free uint32_t *v = malloc(max * sizeof(*v));
	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < c->ntasks; i++) {
		const Crcore__Task *t = c->tasks[i];
		v[n++] = t->pid;
		for (size_t j = 1; j < t->n_threads; j++)
			v[n++] = t->threads[j]->tid;
	}
	qsort(v, n, sizeof(*v), by_number);
	for (size_t i = 1; i < n; i++)
		if (v[i] == v[i - 1])
			return BAD(err, "the number %u is used by two tasks", v[i]);
	return 0;
}

/* Marks who is referred to, and pairs what the kernel can only share together. */
struct uses {
	bool *seen[NSORTS];
	uint32_t *sighand_mm; /* mm of the tasks that share a set of handlers */
};

static int use(const struct core_records *c, struct uses *u, enum record_sort sort, uint32_t id,
               const char *what, struct crcore_error *err)
{
	const struct index_entry *e = core_index_find(c->index, sort, id);

	if (!e)
		return BAD(err, "its %s %u is not in the image", what, id);
	u->seen[sort][e->pos] = true;
	return 0;
}

static int use_all(const struct core_records *c, struct uses *u, const Crcore__Task *t,
                   struct crcore_error *err)
{
	int r;

	if (t->state == CRCORE__TASK_STATE__ZOMBIE)
		return 0;
	r = use(c, u, SORT_MM, t->mm, "memory", err);
	if (r == 0)
		r = use(c, u, SORT_FILES, t->files, "descriptor table", err);
	if (r == 0)
		r = use(c, u, SORT_FS, t->fs, "file system state", err);
	if (r == 0)
		r = use(c, u, SORT_SIGHAND, t->sighand, "set of signal handlers", err);
	if (r < 0)
		return r;
	uint32_t *mm = &u->sighand_mm[core_index_find(c->index, SORT_SIGHAND, t->sighand)->pos];
	if (*mm && *mm != t->mm)
		return BAD(err, "it shares signal handlers but not memory");
	*mm = t->mm;
	return 0;
}

static int check_uses(const struct core_records *c, struct crcore_error *err)
{
	static const enum record_sort sorts[] = { SORT_MM, SORT_FILES, SORT_FS, SORT_SIGHAND };
	struct uses u = { 0 };
	int r = 0;

	u.sighand_mm = calloc(c->nsighands + 1, sizeof(*u.sighand_mm));
	for (unsigned s = 0; s < ARRAY_SIZE(sorts); s++)
		if (!(u.seen[sorts[s]] = calloc(c->index->n[sorts[s]] + 1, sizeof(bool))))
			r = -ENOMEM;
	if (r < 0 || !u.sighand_mm)
		r = crcore_no_memory(err);
	for (unsigned i = 0; i < c->ntasks && r == 0; i++) {
		r = use_all(c, &u, c->tasks[i], err);
		if (r < 0)
			crcore_fail_at(err, (pid_t)c->tasks[i]->pid, -1, "record of the task");
	}
	for (unsigned s = 0; s < ARRAY_SIZE(sorts); s++) {
		for (unsigned i = 0; r == 0 && i < c->index->n[sorts[s]]; i++)
			if (!u.seen[sorts[s]][i])
				r = BAD(err, "a record is there that no task uses");
		free(u.seen[sorts[s]]);
	}
	free(u.sighand_mm);
	return r;
}

static int check_tasks(const Crcore__Manifest *m, const struct core_records *c,
                       struct crcore_error *err)
{
	if (!c->ntasks || c->ntasks != m->tasks || c->tasks[0]->pid != m->root_pid)
		return BAD(err, "the tasks are not those that the manifest counts");
	if (c->tasks[0]->state == CRCORE__TASK_STATE__ZOMBIE)
		return BAD(err, "the root is a zombie");
	for (unsigned i = 0; i < c->ntasks; i++) {
		int r = check_task(c->tasks[i], err);
		if (r == 0)
			r = check_parent(c, i, err);
		if (r < 0) {
			crcore_fail_at(err, (pid_t)c->tasks[i]->pid, -1, "record of the task");
			return r;
		}
	}
	return check_numbers(c, err);
}

int image_validate_core(const Crcore__Manifest *m, struct core_records *c, struct crcore_error *err)
{
	int r = build_index(c, err);

	if (r == 0)
		r = check_tasks(m, c, err);
	if (r == 0)
		r = check_uses(c, err);
	if (r == 0)
		r = check_objects(m, c, err);
	if (r == 0)
		r = check_tables(c, err);
	if (r == 0)
		r = check_memory(m, c, err);
	if (r < 0) {
		crcore_fail_at(err, -1, -1, "image");
		crcore_advise(err, "the image is damaged or not made by crcore: dump again");
	}
	return r;
}
