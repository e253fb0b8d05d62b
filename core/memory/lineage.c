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

/* ---- segments ------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Ascending bounds of all ranges of the page file that anybody has. */
static uint64_t *find_cuts(const struct planner *p, size_t *ret_n)
{
	size_t n = 0, kept = 0;

	for (unsigned i = 0; i < p->nordered; i++)
		n += 2 * p->places[p->by_order[i]].contents.n;
	uint64_t *cuts = malloc((n + 1) * sizeof(*cuts));
	n = 0;
	for (unsigned i = 0; cuts && i < p->nordered; i++) {
		const struct spans *c = &p->places[p->by_order[i]].contents;
		for (size_t k = 0; k < c->n; k++) {
			cuts[n++] = c->v[k].val;
			cuts[n++] = c->v[k].val + (c->v[k].end - c->v[k].start);
		}
	}
	if (cuts && n)
		qsort(cuts, n, sizeof(*cuts), by_value);
	for (size_t i = 0; cuts && i < n; i++)
		if (!kept || cuts[kept - 1] != cuts[i])
			cuts[kept++] = cuts[i];
	*ret_n = kept;
	return cuts;
}

static size_t find_cut(const uint64_t *cuts, size_t n, uint64_t value)
{
	size_t a = 0, b = n;

	while (a < b) {
		size_t m = (a + b) / 2;
		if (cuts[m] < value)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

/* From here on only the owners of a segment matter. */
static void join_segments(struct planner *p)
{
	size_t n = 0;

	for (size_t i = 1; i < p->nsegments; i++) {
		struct segment *last = &p->segments[n], *s = &p->segments[i];
		if (last->end == s->start && last->low == s->low && last->high == s->high)
			last->end = s->end;
		else
			p->segments[++n] = *s;
	}
	if (p->nsegments)
		p->nsegments = n + 1;
}

static int find_segments(struct planner *p, struct crcore_error *err)
{
	size_t n;
	cleanup_free uint64_t *cuts = find_cuts(p, &n);
	cleanup_free struct segment *v = calloc(n + 1, sizeof(*v));

	if (!cuts || !v)
		return layout_enomem(err);
	for (unsigned i = 0; i < p->nordered; i++) {
		const struct spans *c = &p->places[p->by_order[i]].contents;
		for (size_t k = 0; k < c->n; k++) {
			uint64_t end = c->v[k].val + (c->v[k].end - c->v[k].start);
			for (size_t j = find_cut(cuts, n, c->v[k].val); cuts[j] < end; j++) {
				if (!v[j].end)
					v[j] = (struct segment){ cuts[j], cuts[j + 1], i, i };
				v[j].high = i;
			}
		}
	}
	for (size_t j = 0; j < n; j++) {
		p->unique += (v[j].end - v[j].start) / PAGE;
		if (v[j].low < v[j].high)
			v[p->nsegments++] = v[j];
	}
	p->segments = STEAL(v);
	return 0;
}

/* First segment that ends behind ident. */
static size_t find_segment(const struct planner *p, uint64_t ident)
{
	size_t a = 0, b = p->nsegments;

	while (a < b) {
		size_t m = (a + b) / 2;
		if (p->segments[m].end <= ident)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

/* ---- nodes ------------------------------------------------------------------------------ */

static int add_node(struct planner *p, uint32_t place, uint32_t vma, struct crcore_error *err)
{
	if (!GROW(p->nodes, p->nnodes))
		return layout_enomem(err);
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
			return layout_enomem(err);
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
		for (size_t j = find_segment(p, c.val);
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
		return layout_enomem(err);
	for (unsigned i = 0; i < p->nordered; i++) {
		const struct spans *s = &p->places[p->by_order[i]].shared;
		for (size_t k = 0; k < s->n; k++) {
			uint64_t end = s->v[k].val + (s->v[k].end - s->v[k].start);
			for (size_t j = find_segment(p, s->v[k].val);
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

static void make_lineage(struct planner *p, const struct member *v, size_t n)
{
	const uint64_t huge = 1ull << MADV_HUGEPAGE | 1ull << MADV_NOHUGEPAGE;
	struct lineage *l = &p->lineages[p->nlineages];
	uint64_t usual = usual_delta(v, n);

	*l = (struct lineage){ .start = UINT64_MAX, .plain = NONE };
	for (size_t i = 0; i < n; i++) {
		struct node *x = &p->nodes[v[i].node];
		x->delta = v[i].delta - usual;
		x->lineage = p->nlineages;
		struct span e = node_extent(p, x);
		if (e.start < LOW || e.end > HIGH || e.start >= e.end) {
			x->adrift = true; /* wherever the others are, this one does not fit */
			continue;
		}
		l->start = e.start < l->start ? e.start : l->start;
		l->end = e.end > l->end ? e.end : l->end;
		if (l->plain == NONE || ((vma_of(p, &p->nodes[l->plain])->advice & huge) &&
		                         !(vma_of(p, x)->advice & huge)))
			l->plain = v[i].node;
		l->nnodes++;
	}
	l->lost = l->plain == NONE;
	p->nlineages++;
}

static int make_lineages(struct planner *p, struct crcore_error *err)
{
	cleanup_free struct member *v = calloc(p->nnodes + 1, sizeof(*v));
	size_t k;

	p->lineages = calloc(p->nnodes + 1, sizeof(*p->lineages));
	if (!v || !p->lineages)
		return layout_enomem(err);
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
	int r = find_segments(p, err);

	for (unsigned i = 0; r == 0 && i < p->nordered; i++)
		r = find_nodes(p, p->by_order[i], err);
	if (r == 0)
		r = unite_all(p, err);
	join_segments(p);
	return r < 0 ? r : make_lineages(p, err);
}
