/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds out which mappings were one mapping once. Whoever shares a page knows
 * it at an address of its own; so each shared page says by how much two
 * mappings are displaced against each other. A union-find over the mappings
 * that carries these displacements gives groups (lineages) in which every page
 * has one address that all agree on: there it is staged. Displacements that
 * contradict each other (pages that the kernel merged by content) are ignored;
 * what they concern comes back as copies.
 */
#include <sys/mman.h>
#include "core/memory/layout_priv.h"

/* ---- nodes ------------------------------------------------------------------------------ */

static int add_node(struct planner *p, uint32_t place, uint32_t vma, struct crcore_error *err)
{
	if (!GROW(p->nodes, p->nnodes))
		return crcore_no_memory(err);
	p->nodes[p->nnodes] = (struct node){ .mm = place, .vma = vma, .up = p->nnodes };
	p->nnodes++;
	p->places[place].nnodes++;
	return 0;
}

/* Pages [x.start, x.end) are shared: to the mappings that they are in. */
static int attribute(struct planner *p, uint32_t place, struct span x, uint32_t *vma,
                     struct crcore_error *err)
{
	struct place *pl = &p->places[place];

	while (x.start < x.end) {
		while (*vma < pl->rec->n_vmas && pl->rec->vmas[*vma]->end <= x.start)
			++*vma;
		if (*vma == pl->rec->n_vmas)
			break;
		const Crcore__Vma *v = pl->rec->vmas[*vma];
		struct span part = x;
		if (v->end < x.end)
			part.end = v->end;
		if (!pl->nnodes || p->nodes[p->nnodes - 1].vma != *vma) {
			int r = add_node(p, place, *vma, err);
			if (r < 0)
				return r;
		}
		part.tag = p->nnodes - 1;
		if (!spans_append(&pl->shared, part))
			return crcore_no_memory(err);
		x.val += part.end - x.start;
		x.start = part.end;
	}
	return 0;
}

static int find_nodes(struct planner *p, uint32_t place, struct crcore_error *err)
{
	struct place *pl = &p->places[place];
	uint32_t vma = 0;
	int r = 0;

	pl->node0 = p->nnodes;
	for (size_t k = 0; k < pl->contents.n; k++) {
		struct span c = pl->contents.v[k];
		uint64_t last = c.val + (c.end - c.start);
		for (size_t j = segment_at(p, c.val);
		     r == 0 && j < p->nsegments && p->segments[j].start < last; j++) {
			uint64_t from = p->segments[j].start > c.val ? p->segments[j].start : c.val;
			uint64_t to = p->segments[j].end < last ? p->segments[j].end : last;
			r = attribute(p, place, (struct span){ c.start + (from - c.val),
			              c.start + (to - c.val), from, 0 }, &vma, err);
		}
	}
	return r;
}

/* ---- union-find --------------------------------------------------------------------------- */

/* The representative; *ret_delta: what the node's delta is beyond that one's. */
static uint32_t find(struct planner *p, uint32_t node, uint64_t *ret_delta)
{
	uint32_t root = node;
	uint64_t sum = 0;

	while (p->nodes[root].up != root) {
		sum += p->nodes[root].delta;
		root = p->nodes[root].up;
	}
	*ret_delta = sum;
	while (node != root) {
		struct node *n = &p->nodes[node];
		uint64_t delta = n->delta;
		node = n->up;
		n->up = root;
		n->delta = sum;
		sum -= delta;
	}
	return root;
}

static const Crcore__Vma *vma_of(const struct planner *p, const struct node *n)
{
	return p->places[n->mm].rec->vmas[n->vma];
}

/* Can address a of one mapping have been address b of the other? */
static bool same_sort(const Crcore__Vma *v, uint64_t a, const Crcore__Vma *w, uint64_t b)
{
	if (v->backing != w->backing || v->object != w->object || v->grows_down != w->grows_down ||
	    v->noreserve != w->noreserve || v->droppable != w->droppable ||
	    v->huge_shift != w->huge_shift)
		return false;
	if (v->huge_shift && (a - b) & ((1ull << v->huge_shift) - 1))
		return false;
	return v->backing != CRCORE__BACKING__FILE ||
	       v->offset + (a - v->start) == w->offset + (b - w->start);
}

static void unite(struct planner *p, uint32_t x, uint64_t a, uint32_t y, uint64_t b)
{
	uint64_t over_x, over_y;
	uint32_t rx, ry;

	if (!same_sort(vma_of(p, &p->nodes[x]), a, vma_of(p, &p->nodes[y]), b))
		return;
	rx = find(p, x, &over_x);
	ry = find(p, y, &over_y);
	if (rx == ry)
		return; /* and if they contradict: the earlier word stands */
	p->nodes[rx].up = ry;
	p->nodes[rx].delta = a - b - over_x + over_y;
}

/* Everybody that has a segment is united with the first that has it. */
static int unite_all(struct planner *p, struct crcore_error *err)
{
	struct first { uint64_t addr; uint32_t node; bool known; };
	cleanup_free struct first *first = calloc(p->nsegments + 1, sizeof(*first));

	if (!first)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < p->nordered; i++) {
		const struct spans *s = &p->places[p->by_order[i]].shared;
		for (size_t k = 0; k < s->n; k++) {
			uint64_t end = s->v[k].val + (s->v[k].end - s->v[k].start);
			for (size_t j = segment_at(p, s->v[k].val);
			     j < p->nsegments && p->segments[j].start < end; j++) {
				/* modulo 2^64: the range may begin within the segment */
				uint64_t addr = s->v[k].start + (p->segments[j].start - s->v[k].val);
				if (first[j].known)
					unite(p, s->v[k].tag, addr, first[j].node, first[j].addr);
				else
					first[j] = (struct first){ addr, s->v[k].tag, true };
			}
		}
	}
	return 0;
}

/* ---- lineages ----------------------------------------------------------------------------- */

struct member { uint32_t root, node; uint64_t delta; };

static int by_root(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	if (x->root != y->root)
		return x->root < y->root ? -1 : 1;
	if (x->delta != y->delta)
		return x->delta < y->delta ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

/* The delta that most members have; among equals that of the highest in the tree. */
static uint64_t usual_delta(const struct member *v, size_t n)
{
	size_t best = 0, best_n = 0, k;

	for (size_t i = 0; i < n; i = k) {
		for (k = i + 1; k < n && v[k].delta == v[i].delta; k++)
			;
		if (k - i > best_n || (k - i == best_n && v[i].node < v[best].node)) {
			best = i;
			best_n = k - i;
		}
	}
	return v[best].delta;
}

struct span node_extent(const struct planner *p, const struct node *n)
{
	const Crcore__Vma *v = vma_of(p, n);
	uint64_t start = v->start - n->delta;

	return (struct span){ start, start + (v->end - v->start), start, n->lineage };
}

#define LOW 0x10000ULL
#define HIGH 0x7ffffffff000ULL

/* The node finds its place in the lineage, or none. */
static void admit(struct planner *p, struct lineage *l, uint32_t node)
{
	const uint64_t huge = 1ull << MADV_HUGEPAGE | 1ull << MADV_NOHUGEPAGE;
	struct node *x = &p->nodes[node];
	struct span e = node_extent(p, x);

	if (e.start < LOW || e.end > HIGH || e.start >= e.end) {
		x->adrift = true; /* wherever the others are, this one does not fit */
		return;
	}
	l->start = e.start < l->start ? e.start : l->start;
	l->end = e.end > l->end ? e.end : l->end;
	if (l->plain == NONE || ((vma_of(p, &p->nodes[l->plain])->advice & huge) &&
	                         !(vma_of(p, x)->advice & huge)))
		l->plain = node;
	l->nnodes++;
	l->lost = false;
}

void lineage_measure(struct planner *p, uint32_t lineage)
{
	struct lineage *l = &p->lineages[lineage];

	*l = (struct lineage){ .start = UINT64_MAX, .plain = NONE, .lost = true };
	for (uint32_t i = 0; i < p->nnodes; i++)
		if (p->nodes[i].lineage == lineage && !p->nodes[i].adrift)
			admit(p, l, i);
}

static void make_lineage(struct planner *p, const struct member *v, size_t n)
{
	struct lineage *l = &p->lineages[p->nlineages];
	uint64_t usual = usual_delta(v, n);

	*l = (struct lineage){ .start = UINT64_MAX, .plain = NONE, .lost = true };
	for (size_t i = 0; i < n; i++) {
		struct node *x = &p->nodes[v[i].node];
		x->delta = v[i].delta - usual;
		x->lineage = p->nlineages;
		admit(p, l, v[i].node);
	}
	p->nlineages++;
}

static int make_lineages(struct planner *p, struct crcore_error *err)
{
	cleanup_free struct member *v = calloc(p->nnodes + 1, sizeof(*v));
	size_t k;

	p->lineages = calloc(p->nnodes + 1, sizeof(*p->lineages));
	if (!v || !p->lineages)
		return crcore_no_memory(err);
	for (uint32_t i = 0; i < p->nnodes; i++) {
		v[i].node = i;
		v[i].root = find(p, i, &v[i].delta);
	}
	qsort(v, p->nnodes, sizeof(*v), by_root);
	for (size_t i = 0; i < p->nnodes; i = k) {
		for (k = i + 1; k < p->nnodes && v[k].root == v[i].root; k++)
			;
		make_lineage(p, v + i, k - i);
	}
	return 0;
}

void lineage_relocate(struct planner *p, struct lineage *l)
{
	const uint64_t align = 1ull << 30; /* keeps huge pages where they can be */
	uint64_t to = layout_scratch(p, l->end - l->start + align, align);

	if (!to || l->elsewhere) {
		l->lost = true;
		return;
	}
	to += l->start % align;
	for (uint32_t i = 0; i < p->nnodes; i++)
		if (&p->lineages[p->nodes[i].lineage] == l)
			p->nodes[i].delta += l->start - to;
	l->end = to + (l->end - l->start);
	l->start = to;
	l->elsewhere = true;
}

int layout_lineages(struct planner *p, struct crcore_error *err)
{
	int r = layout_owners(p, err);

	for (unsigned i = 0; r == 0 && i < p->nordered; i++)
		r = find_nodes(p, p->by_order[i], err);
	if (r == 0)
		r = unite_all(p, err);
	segments_join(p);
	if (r == 0)
		r = make_lineages(p, err);
	return r < 0 ? r : layout_separate(p, err);
}
