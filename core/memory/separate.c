/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two mappings of one mm can be of one lineage and claim the same place in it:
 * a part was moved away, and what was mapped into the hole became one mapping
 * with what is left around it. One of them has to be a lineage of its own, with
 * all others that are displaced by as much. They still share among themselves;
 * only who has the part where it was before comes back with a copy.
 */
#include "core/memory/layout_priv.h"

struct claim { uint32_t lineage, node; uint64_t start, end; };

static int by_claim(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->lineage != y->lineage)
		return x->lineage < y->lineage ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Finds two nodes of the place that are in each other's way. */
static bool find_rivals(const struct planner *p, const struct place *pl, struct claim *v,
                        uint32_t *ret_a, uint32_t *ret_b)
{
	size_t n = 0;

	for (uint32_t i = pl->node0; i < pl->node0 + pl->nnodes; i++) {
		struct span e = node_extent(p, &p->nodes[i]);
		if (!p->nodes[i].adrift)
			v[n++] = (struct claim){ e.tag, i, e.start, e.end };
	}
	qsort(v, n, sizeof(*v), by_claim);
	for (size_t i = 1; i < n; i++)
		if (v[i].lineage == v[i - 1].lineage && v[i].start < v[i - 1].end) {
			*ret_a = v[i - 1].node;
			*ret_b = v[i].node;
			return true;
		}
	return false;
}

/* Nodes of the lineage that are displaced as much as this one. */
static unsigned count_alike(const struct planner *p, uint32_t node)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < p->nnodes; i++)
		n += p->nodes[i].lineage == p->nodes[node].lineage &&
		     p->nodes[i].delta == p->nodes[node].delta;
	return n;
}

static void separate(struct planner *p, uint32_t node)
{
	const struct node like = p->nodes[node];
	uint32_t old = like.lineage, new = p->nlineages++;

	for (uint32_t i = 0; i < p->nnodes; i++)
		if (p->nodes[i].lineage == old && p->nodes[i].delta == like.delta) {
			p->nodes[i].lineage = new;
			p->nodes[i].delta = 0;
		}
	lineage_measure(p, old);
	lineage_measure(p, new);
}

int layout_separate(struct planner *p, struct crcore_error *err)
{
	cleanup_free struct claim *v = calloc(p->nnodes + 1, sizeof(*v));
	uint32_t a, b;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < p->nordered; i++)
		while (find_rivals(p, &p->places[p->by_order[i]], v, &a, &b))
			separate(p, count_alike(p, a) < count_alike(p, b) ? a : b);
	return 0;
}
