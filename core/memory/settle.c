/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last part of an address space's layout: from what it has when its
 * children are born (inherited and staged) to what it is to be. What is of
 * use is kept or moved, the rest dropped or overwritten, and what is missing
 * mapped and filled.
 */
#include "core/memory/layout_priv.h"

struct settle {
	struct planner *p;
	struct place *pl;
	const struct state *state;
	struct layout *l;
	struct spans claims;  /* staged ranges that are kept; val: final address, tag: node */
	struct spans kept;    /* the same by final address; val: final address */
	struct spans have;    /* pages in them by final address; val: ident */
	struct spans vmas;    /* all mappings to be; tag: index */
};

/* ---- what is kept ------------------------------------------------------------------ */

/* A mapping that would come back in parts is one that mremap can no longer
 * resize: if its lineage cannot be had whole elsewhere, it is copied. */
static bool is_whole(struct settle *s, const struct node *n, size_t first, uint64_t start,
                     uint64_t end)
{
	const struct spans *pieces = &s->state->pieces;

	if (first < pieces->n && pieces->v[first].tag == n->lineage &&
	    pieces->v[first].start <= start && pieces->v[first].end >= end)
		return true;
	s->p->splits++;
	s->p->lineages[n->lineage].in_the_way = true;
	return false;
}

/* Of each node, the pieces of its lineage where it was staged: but only if
 * pages in them are the right ones. */
static bool claim_node(struct settle *s, uint32_t node, const struct spans *right)
{
	const struct node *n = &s->p->nodes[node];
	const Crcore__Vma *v = s->pl->rec->vmas[n->vma];
	uint64_t start = v->start - n->delta, end = v->end - n->delta;
	const struct spans *pieces = &s->state->pieces;
	size_t i = spans_find(pieces, start);

	if (n->adrift || s->p->lineages[n->lineage].lost || !spans_overlap(right, start, end))
		return true;
	if (!is_whole(s, n, i, start, end) && s->p->final)
		return true;
	for (; i < pieces->n && pieces->v[i].start < end; i++) {
		struct span c = { pieces->v[i].start > start ? pieces->v[i].start : start,
		                  pieces->v[i].end < end ? pieces->v[i].end : end, 0, node };
		c.val = c.start + n->delta;
		if (pieces->v[i].tag == n->lineage && !spans_push(&s->claims, c))
			return false;
	}
	return true;
}

static bool find_claims(struct settle *s)
{
	struct spans wrong = { 0 }, right = { 0 };
	bool ok = spans_differ(&s->pl->own, &s->state->pages, &wrong) &&
	          spans_subtract(&s->pl->own, &wrong, &right);

	for (uint32_t i = s->pl->node0; ok && i < s->pl->node0 + s->pl->nnodes; i++)
		ok = claim_node(s, i, &right);
	spans_free(&wrong);
	spans_free(&right);
	return ok && spans_sort(&s->claims);
}

/* What will be there, and with what in it, once all claims are in place. */
static bool find_kept(struct settle *s)
{
	struct spans pages = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < s->claims.n; i++) {
		struct span c = s->claims.v[i];
		struct span k = { c.val, c.val + (c.end - c.start), c.val, 0 };

		pages.n = 0;
		ok = spans_push(&s->kept, k) &&
		     spans_clip(&s->state->pages, c.start, c.end, &pages);
		for (size_t j = 0; ok && j < pages.n; j++) {
			struct span x = pages.v[j];
			x.tag = 0;
			x.start += c.val - c.start;
			x.end += c.val - c.start;
			ok = spans_push(&s->have, x);
		}
	}
	spans_free(&pages);
	return ok && spans_sort(&s->kept) && spans_sort(&s->have);
}

/* ---- moves ---------------------------------------------------------------------------- */

struct move { uint64_t from, to, len; unsigned waits; bool aside, done; };
struct moves { struct move *v; unsigned n; struct spans from, to; /* tag: which */ };

static bool emit(struct layout *l, uint64_t from, uint64_t to, uint64_t len)
{
	if (!GROW(l->moves, l->nmoves))
		return false;
	l->moves[l->nmoves++] = (struct layout_move){ from, to, len };
	return true;
}

/* Move i has left its place: those that go there wait for one less. */
static void left(struct moves *m, unsigned i, unsigned *ready, unsigned *nready)
{
	uint64_t start = m->v[i].from, end = start + m->v[i].len;

	for (size_t k = spans_find(&m->to, start); k < m->to.n && m->to.v[k].start < end; k++) {
		unsigned w = m->to.v[k].tag;
		if (w != i && --m->v[w].waits == 0)
			ready[(*nready)++] = w;
	}
}

static void count_waits(struct moves *m, unsigned *ready, unsigned *nready)
{
	for (unsigned i = 0; i < m->n; i++) {
		uint64_t start = m->v[i].to, end = start + m->v[i].len;
		for (size_t k = spans_find(&m->from, start); k < m->from.n && m->from.v[k].start < end; k++)
			m->v[i].waits += m->from.v[k].tag != i;
		if (!m->v[i].waits)
			ready[(*nready)++] = i;
	}
}

/* Nothing can move: this one steps aside, so that others can. */
static int step_aside(struct settle *s, struct moves *m, unsigned i, unsigned *ready,
                      unsigned *nready, struct crcore_error *err)
{
	uint64_t align = 1ull << 30, to = layout_scratch(s->p, m->v[i].len + align, align);

	if (!to)
		return crcore_fail(err, -ENOMEM, "no address space left to move mappings through");
	to += m->v[i].from % align; /* as the page tables and huge pages like it */
	if (!emit(s->l, m->v[i].from, to, m->v[i].len))
		return crcore_no_memory(err);
	left(m, i, ready, nready);
	m->v[i].aside = true;
	m->v[i].from = to;
	return 0;
}

static int order_moves(struct settle *s, struct moves *m, struct crcore_error *err)
{
	cleanup_free unsigned *ready = calloc(m->n + 1, sizeof(*ready));
	unsigned nready = 0, aside = 0;

	if (!ready)
		return crcore_no_memory(err);
	count_waits(m, ready, &nready);
	for (unsigned done = 0; done < m->n; done++) {
		while (!nready) {
			while (m->v[aside].done)
				aside++;
			int r = step_aside(s, m, aside++, ready, &nready, err);
			if (r < 0)
				return r;
		}
		struct move *v = &m->v[ready[--nready]];
		uint64_t distance = v->from < v->to ? v->to - v->from : v->from - v->to;
		if (distance < v->len) { /* onto itself: mremap refuses that */
			int r = step_aside(s, m, (unsigned)(v - m->v), ready, &nready, err);
			if (r < 0)
				return r;
		} else if (!v->aside) {
			left(m, (unsigned)(v - m->v), ready, &nready);
		}
		if (!emit(s->l, v->from, v->to, v->len))
			return crcore_no_memory(err);
		v->done = true;
	}
	return 0;
}

static int find_moves(struct settle *s, struct crcore_error *err)
{
	struct moves m = { 0 };
	int r = 0;

	m.v = calloc(s->claims.n + 1, sizeof(*m.v));
	if (!m.v)
		return crcore_no_memory(err);
	for (size_t i = 0; r == 0 && i < s->claims.n; i++) {
		struct span from = s->claims.v[i], to = from;
		if (from.val == from.start)
			continue;
		to.start = from.val;
		to.end = from.val + (from.end - from.start);
		from.tag = to.tag = m.n;
		m.v[m.n++] = (struct move){ .from = from.start, .to = to.start,
		                            .len = from.end - from.start };
		if (!spans_push(&m.from, from) || !spans_push(&m.to, to))
			r = crcore_no_memory(err);
	}
	if (r == 0 && !spans_sort(&m.to))
		r = crcore_no_memory(err);
	if (r == 0 && m.n)
		r = order_moves(s, &m, err);
	free(m.v);
	spans_free(&m.from);
	spans_free(&m.to);
	return r;
}

/* ---- what is dropped, mapped, filled ----------------------------------------------------- */

static bool add_range(struct layout_range **v, unsigned *n, struct span x)
{
	if (!GROW(*v, *n))
		return false;
	(*v)[(*n)++] = (struct layout_range){ x.start, x.end };
	return true;
}

static bool to_ranges(const struct spans *s, struct layout_range **v, unsigned *n)
{
	for (size_t i = 0; i < s->n; i++) {
		if (*n && (*v)[*n - 1].end == s->v[i].start)
			(*v)[*n - 1].end = s->v[i].end;
		else if (!add_range(v, n, s->v[i]))
			return false;
	}
	return true;
}

static bool find_vmas(struct settle *s)
{
	for (size_t i = 0; i < s->pl->rec->n_vmas; i++) {
		const Crcore__Vma *v = s->pl->rec->vmas[i];
		if (!vma_is_special(v) &&
		    !spans_push(&s->vmas, (struct span){ v->start, v->end, v->start, (uint32_t)i }))
			return false;
	}
	return true;
}

/* Mappings, and what is in the way and not overwritten by them. */
static bool find_maps(struct settle *s)
{
	struct spans fresh = { 0 }, unclaimed = { 0 }, drop = { 0 };
	bool ok = spans_subtract(&s->vmas, &s->kept, &fresh);

	for (size_t i = 0; ok && i < fresh.n; i++) {
		const Crcore__Vma *v = s->pl->rec->vmas[fresh.v[i].tag];
		struct layout_map m = { v, fresh.v[i].start, fresh.v[i].end, 0 };
		if (v->backing == CRCORE__BACKING__FILE || v->backing == CRCORE__BACKING__SEGMENT)
			m.offset = v->offset + (m.start - v->start);
		ok = GROW(s->l->maps, s->l->nmaps);
		if (ok)
			s->l->maps[s->l->nmaps++] = m;
	}
	if (ok && s->state)
		ok = spans_subtract(&s->state->pieces, &s->claims, &unclaimed) &&
		     spans_subtract(&unclaimed, &s->vmas, &drop) &&
		     to_ranges(&drop, &s->l->drops, &s->l->ndrops);
	spans_free(&fresh);
	spans_free(&unclaimed);
	spans_free(&drop);
	return ok;
}

static bool find_pages(struct settle *s)
{
	struct spans fill = { 0 }, zap = { 0 };
	bool ok = spans_differ(&s->pl->contents, &s->have, &fill) &&
	          spans_subtract(&s->have, &s->pl->contents, &zap);

	for (size_t i = 0; ok && i < fill.n; i++) {
		const struct span *x = &fill.v[i];
		ok = GROW(s->l->fills, s->l->nfills);
		if (ok)
			s->l->fills[s->l->nfills++] =
				(struct layout_fill){ x->start, (x->end - x->start) / PAGE, x->val };
	}
	s->p->filled += spans_bytes(&fill) / PAGE;
	ok = ok && to_ranges(&zap, &s->l->zaps, &s->l->nzaps) &&
	     to_ranges(&s->pl->guards, &s->l->guards, &s->l->nguards);
	spans_free(&fill);
	spans_free(&zap);
	return ok;
}

int layout_settle(struct planner *p, struct place *pl, const struct state *state, struct layout *l,
                  struct crcore_error *err)
{
	struct settle s = { .p = p, .pl = pl, .state = state, .l = l };
	bool ok = find_vmas(&s) && (!state || (find_claims(&s) && find_kept(&s)));
	int r = ok ? find_moves(&s, err) : -ENOMEM;

	if (r == 0)
		ok = find_maps(&s) && find_pages(&s);
	spans_free(&s.claims);
	spans_free(&s.kept);
	spans_free(&s.have);
	spans_free(&s.vmas);
	return r < 0 && ok ? r : ok ? 0 : crcore_no_memory(err);
}
