/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which address space is copied from which, and the moments at which that
 * happens. Ids and births come from an image: nothing is taken for granted
 * that would make the planner loop or read out of bounds.
 */
#include "core/memory/layout_priv.h"

struct id { uint32_t id, place; };

static int by_id(const void *a, const void *b)
{
	const struct id *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int refuse(const struct planner *p, unsigned task, const char *why, struct crcore_error *err)
{
	crcore_fail_at(err, (pid_t)p->tasks[task]->pid, -1, "task %u", p->tasks[task]->pid);
	return crcore_fail(err, -EBADMSG, "%s", why);
}

static int find_places(struct planner *p, struct crcore_error *err)
{
	cleanup_free struct id *ids = calloc(p->n ? p->n : 1, sizeof(*ids));

	if (!ids)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < p->n; i++)
		ids[i] = (struct id){ p->places[i].rec->id, i };
	qsort(ids, p->n, sizeof(*ids), by_id);
	for (unsigned t = 0; t < p->ntasks; t++) {
		struct id key = { p->tasks[t]->mm, 0 };
		struct id *found = key.id ? bsearch(&key, ids, p->n, sizeof(key), by_id) : NULL;
		if (key.id && !found)
			return refuse(p, t, "its memory is not in the image", err);
		p->place_of_task[t] = found ? found->place : NONE;
	}
	return 0;
}

/* ---- who is copied from whom ------------------------------------------------------- */

static void default_births(struct planner *p)
{
	for (unsigned t = 0; t < p->ntasks; t++) {
		p->births[t] = (struct layout_birth){ -1, t, 0 };
		for (unsigned i = 0; i < t; i++)
			if (p->tasks[i]->pid == p->tasks[t]->ppid)
				p->births[t].parent = (int)i;
	}
}

static int find_makers(struct planner *p, struct crcore_error *err)
{
	for (unsigned i = 0; i < p->n; i++) {
		p->places[i].task = -1;
		p->places[i].parent = NONE;
	}
	for (unsigned t = 0; t < p->ntasks; t++) {
		int parent = p->births[t].parent;
		uint32_t place = p->place_of_task[t], from = NONE;

		if (parent >= (int)p->ntasks)
			return refuse(p, t, "its parent is not there", err);
		if (parent >= 0 && (from = p->place_of_task[parent]) == NONE)
			return refuse(p, t, "its parent has no memory", err);
		if (place == NONE || place == from)
			continue;
		if (p->places[place].task >= 0)
			return refuse(p, t, "shares its memory with a task that it does not come from", err);
		p->places[place].task = (int)t;
		p->places[place].parent = from;
	}
	return 0;
}

/* Numbers the places so that all below one follow it directly. */
static int number(struct planner *p, struct crcore_error *err)
{
	cleanup_free uint32_t *first = malloc((p->n + 1) * sizeof(*first));
	cleanup_free uint32_t *next = malloc((p->n + 1) * sizeof(*next));
	unsigned with_task = 0;
	uint32_t at = NONE;

	p->by_order = calloc(p->n + 1, sizeof(*p->by_order));
	if (!first || !next || !p->by_order)
		return crcore_no_memory(err);
	memset(first, 0xff, (p->n + 1) * sizeof(*first)); /* [n]: the roots */
	for (uint32_t i = p->n; i-- > 0;) {
		uint32_t up = p->places[i].parent == NONE ? p->n : p->places[i].parent;
		if (p->places[i].task < 0)
			continue;
		with_task++;
		next[i] = first[up];
		first[up] = i;
	}
	for (uint32_t i = first[p->n]; i != NONE;) {
		p->places[i].order = p->nordered;
		p->by_order[p->nordered++] = i;
		if (first[i] != NONE) {
			i = first[i];
			continue;
		}
		for (at = i; at != NONE && next[at] == NONE; at = p->places[at].parent)
			p->places[at].end = p->nordered;
		if (at == NONE)
			break;
		p->places[at].end = p->nordered;
		i = next[at];
	}
	if (p->nordered != with_task)
		return crcore_fail(err, -EBADMSG, "address spaces are copied from each other in a circle");
	return 0;
}

/* ---- moments ---------------------------------------------------------------------------- */

static int by_moment(const void *a, const void *b)
{
	const struct moment *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->child < y->child ? -1 : x->child > y->child;
}

static int by_rank(const void *a, const void *b)
{
	const struct moment *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->child < y->child ? -1 : x->child > y->child;
}

static bool takes_part(struct planner *p, struct moment *m, unsigned task)
{
	uint32_t place = p->place_of_task[task];

	if (place == NONE || p->places[place].task != (int)task)
		return true;
	if (!GROW(m->mms, m->nmms))
		return false;
	m->mms[m->nmms++] = place;
	return true;
}

/* Joins births that happen at once; v is sorted by moment. Returns how many are left, or -1. */
static int join(struct planner *p, struct moment *v, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		struct moment *last = kept ? &v[kept - 1] : NULL;
		unsigned child = v[i].child;
		if (last && last->parent == v[i].parent && last->number == v[i].number) {
			last->rank = v[i].rank < last->rank ? v[i].rank : last->rank;
		} else {
			v[kept] = v[i];
			last = &v[kept++];
		}
		if (!takes_part(p, last, child))
			return -1;
	}
	return (int)kept;
}

static int find_moments(struct planner *p, struct place *place, unsigned n, struct moment *v,
                        struct crcore_error *err)
{
	place->moments = calloc(n, sizeof(*v));
	if (!place->moments)
		return crcore_no_memory(err);
	memcpy(place->moments, v, n * sizeof(*v));
	place->nmoments = n;
	qsort(place->moments, n, sizeof(*v), by_moment);
	int kept = join(p, place->moments, n);
	if (kept < 0)
		return crcore_no_memory(err);
	memset(place->moments + kept, 0, (n - (unsigned)kept) * sizeof(*v));
	place->nmoments = (unsigned)kept;
	qsort(place->moments, place->nmoments, sizeof(*v), by_rank);
	return 0;
}

/* Births sorted by the place they are copied from. */
struct birth_at { uint32_t place; struct moment m; };

static int by_place(const void *a, const void *b)
{
	const struct birth_at *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->m.child < y->m.child ? -1 : x->m.child > y->m.child;
}

static int all_moments(struct planner *p, struct crcore_error *err)
{
	cleanup_free struct birth_at *b = calloc(p->ntasks + 1, sizeof(*b));
	cleanup_free struct moment *v = calloc(p->ntasks + 1, sizeof(*v));
	unsigned n = 0;

	if (!b || !v)
		return crcore_no_memory(err);
	for (unsigned t = 0; t < p->ntasks; t++) {
		const struct layout_birth *x = &p->births[t];
		if (x->parent >= 0)
			b[n++] = (struct birth_at){ p->place_of_task[x->parent],
			         { .parent = (unsigned)x->parent, .child = t, .rank = x->rank,
			           .number = x->moment } };
	}
	qsort(b, n, sizeof(*b), by_place);
	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i; k < n && b[k].place == b[i].place; k++)
			v[k - i] = b[k].m;
		int r = find_moments(p, &p->places[b[i].place], k - i, v, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int layout_tree(struct planner *p, const struct layout_birth *births, struct crcore_error *err)
{
	int r;

	p->births = calloc(p->ntasks + 1, sizeof(*p->births));
	p->place_of_task = calloc(p->ntasks + 1, sizeof(*p->place_of_task));
	if (!p->births || !p->place_of_task)
		return crcore_no_memory(err);
	if (births)
		memcpy(p->births, births, p->ntasks * sizeof(*births));
	else
		default_births(p);
	if ((r = find_places(p, err)) < 0 || (r = find_makers(p, err)) < 0 ||
	    (r = number(p, err)) < 0)
		return r;
	return all_moments(p, err);
}
