/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has which pages: the page file is cut wherever anybody's range of it begins
 * or ends, so that each segment belongs to the same address spaces as a whole.
 * Of those only the first and the last in the order of the tree are kept: that is
 * enough to tell whether all owners are at or below a given one.
 */
#include "core/memory/layout_priv.h"

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
void segments_join(struct planner *p)
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

int layout_owners(struct planner *p, struct crcore_error *err)
{
	size_t n;
	cleanup_free uint64_t *cuts = find_cuts(p, &n);
	cleanup_free struct segment *v = calloc(n + 1, sizeof(*v));

	if (!cuts || !v)
		return crcore_no_memory(err);
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

size_t segment_at(const struct planner *p, uint64_t ident)
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
