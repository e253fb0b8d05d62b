/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the leaves of the tree up: what must be in the memory that an mm is born
 * with. A page that only it and those below it have can be made in it; a page
 * that anybody else has too must come from above, for this mm or for somebody
 * below it to whom it only passes it on.
 */
#include "core/memory/layout_priv.h"

/* ---- pages ------------------------------------------------------------------------------ */

/* Appends what of x is owned by anybody that is not pl or below it. */
static bool add_foreign(const struct planner *p, const struct place *pl, struct span x,
                        struct spans *ret)
{
	uint64_t last = x.val + (x.end - x.start);

	for (size_t j = segment_at(p, x.val); j < p->nsegments && p->segments[j].start < last; j++) {
		const struct segment *s = &p->segments[j];
		uint64_t from = s->start > x.val ? s->start : x.val, to = s->end < last ? s->end : last;
		struct span part = { x.start + (from - x.val), x.start + (to - x.val), from, x.tag };
		if ((s->low < pl->order || s->high >= pl->end) && !spans_append(ret, part))
			return false;
	}
	return true;
}

/* Shared pages of a place, where they are staged. */
static bool find_own(struct planner *p, struct place *pl)
{
	spans_free(&pl->own);
	for (size_t i = 0; i < pl->shared.n; i++) {
		struct span x = pl->shared.v[i];
		const struct node *n = &p->nodes[x.tag];
		if (n->adrift || p->lineages[n->lineage].lost)
			continue;
		x.tag = n->lineage;
		x.start -= n->delta;
		x.end -= n->delta;
		if (!spans_push(&pl->own, x))
			return false;
	}
	return spans_sort(&pl->own);
}

/* *a := a with b where a has nothing. */
static bool add_below(struct spans *a, const struct spans *b)
{
	struct spans out = { 0 };

	if (!b->n)
		return true;
	if (!spans_overlay(b, a, &out)) {
		spans_free(&out);
		return false;
	}
	spans_free(a);
	*a = out;
	return true;
}

/* ---- extents ------------------------------------------------------------------------------ */

static void mark_in_the_way(struct planner *p, uint32_t a, uint32_t b)
{
	uint32_t less = p->lineages[a].nnodes < p->lineages[b].nnodes ? a : b;

	p->lineages[p->lineages[less].elsewhere ? a ^ b ^ less : less].in_the_way = true;
}

/* Joins ranges of lineages: where two lineages want one address, a wins, and the
 * other is marked in_the_way. */
static bool extents_join(struct planner *p, const struct spans *a, const struct spans *b,
                         struct spans *ret)
{
	for (size_t i = 0, k = 0; i < a->n && k < b->n;) {
		if (a->v[i].end <= b->v[k].start) {
			i++;
		} else if (b->v[k].end <= a->v[i].start) {
			k++;
		} else {
			if (a->v[i].tag != b->v[k].tag)
				mark_in_the_way(p, a->v[i].tag, b->v[k].tag);
			if (a->v[i].end < b->v[k].end)
				i++;
			else
				k++;
		}
	}
	return spans_overlay(b, a, ret);
}

static bool add_extents(struct planner *p, struct spans *a, const struct spans *b)
{
	struct spans out = { 0 };

	if (!b->n)
		return true;
	if (!extents_join(p, a, b, &out)) {
		spans_free(&out);
		return false;
	}
	spans_free(a);
	*a = out;
	return true;
}

static bool holds_any(const struct spans *pages, const struct span *e)
{
	for (size_t i = spans_find(pages, e->start); i < pages->n && pages->v[i].start < e->end; i++)
		if (pages->v[i].tag == e->tag)
			return true;
	return false;
}

/* Appends the extents in which wanted pages are. */
static bool keep_wanted(const struct spans *e, const struct spans *want, struct spans *ret)
{
	for (size_t i = 0; i < e->n; i++)
		if (holds_any(want, &e->v[i]) && !spans_append(ret, e->v[i]))
			return false;
	return true;
}

/* All mappings of the place that take part, by staged address. */
static bool own_extents(struct planner *p, const struct place *pl, struct spans *ret)
{
	for (uint32_t i = pl->node0; i < pl->node0 + pl->nnodes; i++) {
		const struct node *n = &p->nodes[i];
		if (!n->adrift && !p->lineages[n->lineage].lost && !spans_push(ret, node_extent(p, n)))
			return false;
	}
	return spans_sort(ret);
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* What those want that are born at one moment. */
static bool want_of_moment(struct planner *p, struct moment *m)
{
	spans_free(&m->want);
	spans_free(&m->extents);
	for (unsigned i = 0; i < m->nmms; i++)
		if (!add_below(&m->want, &p->places[m->mms[i]].want) ||
		    !add_extents(p, &m->extents, &p->places[m->mms[i]].extents))
			return false;
	return true;
}

/* Adds to what the place wants the foreign ones of these pages. */
static bool add_wants(struct planner *p, struct place *pl, const struct spans *pages)
{
	struct spans foreign = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < pages->n; i++)
		ok = add_foreign(p, pl, pages->v[i], &foreign);
	ok = ok && add_below(&pl->want, &foreign);
	spans_free(&foreign);
	return ok;
}

static bool want_of_place(struct planner *p, struct place *pl)
{
	struct spans extents = { 0 };
	bool ok = find_own(p, pl) && own_extents(p, pl, &extents);

	spans_free(&pl->want);
	spans_free(&pl->extents);
	for (unsigned i = 0; ok && i < pl->nmoments; i++)
		ok = want_of_moment(p, &pl->moments[i]);
	if (pl->parent != NONE) {
		ok = ok && add_wants(p, pl, &pl->own);
		for (unsigned i = 0; ok && i < pl->nmoments; i++)
			ok = add_wants(p, pl, &pl->moments[i].want) &&
			     add_extents(p, &extents, &pl->moments[i].extents);
		ok = ok && keep_wanted(&extents, &pl->want, &pl->extents);
	}
	spans_free(&extents);
	return ok;
}

int layout_wants(struct planner *p, struct crcore_error *err)
{
	for (unsigned i = p->nordered; i-- > 0;)
		if (!want_of_place(p, &p->places[p->by_order[i]]))
			return crcore_no_memory(err);
	return 0;
}
