/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings births into an order in which everybody is there before those it
 * clones, and finds for each the live task that it reports to at barriers.
 */
#include "core/restore/births_priv.h"

static int remap(const int *at, int birth)
{
	return birth < 0 ? birth : at[birth];
}

/* Fills order[] with births, creators first; births[] that hang in a circle are left out. */
static unsigned sort(const struct births *o, int *order, int *first, int *next)
{
	unsigned n = 0;

	for (unsigned i = 0; i < o->n; i++)
		first[i] = -1;
	for (int i = (int)o->n - 1; i >= 0; i--) {
		int c = o->v[i].creator;
		if (c < 0) {
			order[n++] = i;
			continue;
		}
		next[i] = first[c];
		first[c] = i;
	}
	for (unsigned at = 0; at < n; at++)
		for (int i = first[order[at]]; i >= 0; i = next[i])
			order[n++] = i;
	return n;
}

static void find_up(struct births *o, unsigned i)
{
	int root = o->of_task[0];
	int c = o->v[i].creator;

	while (c >= 0 && (o->v[c].task < 0 || o->v[c].zombie))
		c = o->v[c].creator;
	o->v[i].up = (int)i == root ? -1 : c < 0 ? root : c;
}

int births_order(struct plan *p, struct crcore_error *err)
{
	struct births *o = p->births;
	cleanup_free int *order = calloc(3 * (size_t)o->n, sizeof(int));
	cleanup_free int *at = calloc(o->n, sizeof(int));
	cleanup_free struct birth *v = calloc(o->n, sizeof(*v));

	if (!order || !at || !v)
		return crcore_no_memory(err);
	unsigned n = sort(o, order, order + o->n, order + 2 * o->n);
	for (unsigned i = 0; i < n; i++)
		at[order[i]] = (int)i + 1;
	for (unsigned i = 0; i < p->n; i++)
		if (!at[i])
			return plan_refuse(p, (int)i, err, "its session comes from a task below it");
	for (unsigned i = 0; i < n; i++) {
		at[order[i]]--;
		v[i] = o->v[order[i]];
	}
	for (unsigned i = 0; i < n; i++) {
		v[i].creator = remap(at, v[i].creator);
		if (v[i].task >= 0)
			o->of_task[v[i].task] = (int)i;
	}
	for (unsigned i = 0; i < o->nrounds; i++)
		o->rounds[i] = at[o->rounds[i]];
	memcpy(o->v, v, n * sizeof(*v));
	o->n = n;
	for (unsigned i = 0; i < n; i++)
		find_up(o, i);
	return 0;
}
