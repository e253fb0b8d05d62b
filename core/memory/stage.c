/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the root of the tree down: plays through what each mm has at each
 * moment of its building, and at each adds what those who are born then want
 * and do not find: mappings first, then pages. A page that is staged stays
 * until another takes its place; so children that were born one after the
 * other, while their parent went on writing, each get what the parent had then.
 */
#include "core/memory/layout_priv.h"

struct stage {
	struct planner *p;
	struct place *pl;
	struct layout *l;
	struct state *state;
	struct spans special;   /* vdso and the like: nothing is staged there */
	struct spans wide;      /* mappings that are of use here at any time; tag: lineage */
};

static void release(struct state *s)
{
	if (s && --s->refs == 0) {
		spans_free(&s->pieces);
		spans_free(&s->pages);
		free(s);
	}
}

/* A state of its own for who is about to change it. */
static bool make_own(struct state **s)
{
	struct state *own;

	if (*s && (*s)->refs == 1)
		return true;
	own = calloc(1, sizeof(*own));
	if (!own)
		return false;
	own->refs = 1;
	if (*s && (!spans_copy(&(*s)->pieces, &own->pieces) ||
	           !spans_copy(&(*s)->pages, &own->pages))) {
		release(own);
		return false;
	}
	release(*s);
	*s = own;
	return true;
}

typedef bool spans_operation(const struct spans *, const struct spans *, struct spans *);

/* *a := a op b */
static bool apply(spans_operation *op, struct spans *a, const struct spans *b)
{
	struct spans out = { 0 };

	if (!op(a, b, &out)) {
		spans_free(&out);
		return false;
	}
	spans_free(a);
	*a = out;
	return true;
}

/* ---- mappings ----------------------------------------------------------------------- */

/* Appends what of [x] has no piece of its lineage. */
static bool uncovered(const struct state *s, struct span x, struct spans *ret)
{
	uint64_t at = x.start;

	for (size_t i = spans_find(&s->pieces, x.start);
	     i < s->pieces.n && s->pieces.v[i].start < x.end; i++) {
		const struct span *q = &s->pieces.v[i];
		if (q->tag != x.tag)
			continue;
		if (at < q->start && !spans_push(ret, (struct span){ at, q->start, at, x.tag }))
			return false;
		at = q->end;
	}
	return at >= x.end || spans_push(ret, (struct span){ at, x.end, at, x.tag });
}

/* As much around x as will be of use to anybody, if nothing is there: so that a
 * mapping that grew in a child stays one mapping. */
static struct span widen(const struct stage *g, struct span x)
{
	size_t w = spans_find(&g->wide, x.start);

	if (w == g->wide.n || g->wide.v[w].tag != x.tag)
		return x;
	uint64_t low = g->wide.v[w].start, high = g->wide.v[w].end;
	const struct spans *taken[] = { &g->state->pieces, &g->special };
	for (unsigned t = 0; t < ARRAY_SIZE(taken); t++) {
		size_t i = spans_find(taken[t], x.start);
		if (i < taken[t]->n && taken[t]->v[i].start < x.start)
			low = x.start;
		else if (i > 0 && taken[t]->v[i - 1].end > low)
			low = taken[t]->v[i - 1].end;
		i = spans_find(taken[t], x.end - 1);
		if (i < taken[t]->n && taken[t]->v[i].start < x.end)
			high = x.end;
		else if (i < taken[t]->n && taken[t]->v[i].start < high)
			high = taken[t]->v[i].start;
	}
	if (low < x.start)
		x.start = low;
	if (high > x.end)
		x.end = high;
	x.val = x.start;
	return x;
}

/* Does anybody want lineage tag in [start,end) at moment first or later, this place included? */
static bool still_wanted(const struct stage *g, unsigned first, uint32_t tag, uint64_t start,
                         uint64_t end)
{
	for (unsigned m = first; m <= g->pl->nmoments; m++) {
		const struct spans *w = m < g->pl->nmoments ? &g->pl->moments[m].want : &g->pl->own;
		for (size_t i = spans_find(w, start); i < w->n && w->v[i].start < end; i++)
			if (w->v[i].tag == tag)
				return true;
	}
	return false;
}

static void note_overwritten(const struct stage *g, unsigned moment, const struct span *x)
{
	const struct spans *pieces = &g->state->pieces;
	size_t i = spans_find(pieces, x->start);

	for (; i < pieces->n && pieces->v[i].start < x->end; i++) {
		struct lineage *l = &g->p->lineages[pieces->v[i].tag];
		if (pieces->v[i].tag != x->tag &&
		    still_wanted(g, moment, pieces->v[i].tag, x->start, x->end))
			g->p->lineages[l->elsewhere ? x->tag : pieces->v[i].tag].in_the_way = true;
	}
}

static bool add_map(struct stage *g, const struct span *x)
{
	const struct node *n = &g->p->nodes[g->p->lineages[x->tag].plain];
	const Crcore__Vma *v = g->p->places[n->mm].rec->vmas[n->vma];
	struct layout_map m = { v, x->start, x->end, 0 };

	if (v->backing == CRCORE__BACKING__FILE)
		m.offset = v->offset + (x->start + n->delta - v->start);
	if (!GROW(g->l->stage, g->l->nstage))
		return false;
	g->l->stage[g->l->nstage++] = m;
	return true;
}

/* What does not fit because of the vdso: its lineage has to go elsewhere. */
static bool cut_special(struct stage *g, struct spans *x)
{
	for (size_t i = 0; i < x->n; i++)
		if (spans_overlap(&g->special, x->v[i].start, x->v[i].end))
			g->p->lineages[x->v[i].tag].in_the_way = true;
	return apply(spans_subtract, x, &g->special);
}

static bool stage_maps(struct stage *g, unsigned moment, struct layout_step *step)
{
	const struct moment *m = &g->pl->moments[moment];
	struct spans missing = { 0 }, made = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < m->extents.n; i++)
		ok = uncovered(g->state, m->extents.v[i], &missing);
	ok = ok && cut_special(g, &missing);
	if (ok && missing.n)
		ok = make_own(&g->state);
	for (size_t i = 0; ok && i < missing.n; i++) {
		struct span x = widen(g, missing.v[i]);
		if (made.n && made.v[made.n - 1].end > x.start) /* widened before */
			x.start = made.v[made.n - 1].end;
		if (i + 1 < missing.n && missing.v[i + 1].tag != x.tag && missing.v[i + 1].start < x.end)
			x.end = missing.v[i + 1].start;
		if (x.start >= x.end)
			continue;
		note_overwritten(g, moment, &x);
		x.val = x.start + (g->p->nmapped++ << 48); /* never goes on from another */
		ok = add_map(g, &x) && spans_push(&made, x);
	}
	step->nmaps = (unsigned)made.n;
	if (ok && made.n)
		ok = apply(spans_overlay, &g->state->pieces, &made) &&
		     apply(spans_subtract, &g->state->pages, &made);
	spans_free(&missing);
	spans_free(&made);
	return ok;
}

/* ---- pages ---------------------------------------------------------------------------- */

/* Appends what of x lies in pieces of its own lineage. */
static bool where_mapped(const struct state *s, struct span x, struct spans *ret)
{
	for (size_t i = spans_find(&s->pieces, x.start);
	     i < s->pieces.n && s->pieces.v[i].start < x.end; i++) {
		const struct span *q = &s->pieces.v[i];
		struct span part = x;
		if (q->tag != x.tag)
			continue;
		if (q->start > x.start) {
			part.start = q->start;
			part.val += q->start - x.start;
		}
		if (q->end < x.end)
			part.end = q->end;
		if (!spans_append(ret, part))
			return false;
	}
	return true;
}

static bool stage_pages(struct stage *g, unsigned moment, struct layout_step *step)
{
	struct spans missing = { 0 }, fill = { 0 };
	bool ok = spans_differ(&g->pl->moments[moment].want, &g->state->pages, &missing);

	for (size_t i = 0; ok && i < missing.n; i++)
		ok = where_mapped(g->state, missing.v[i], &fill);
	for (size_t i = 0; ok && i < fill.n; i++) {
		const struct span *x = &fill.v[i];
		ok = GROW(g->l->stage_fills, g->l->nstage_fills);
		if (ok)
			g->l->stage_fills[g->l->nstage_fills++] =
				(struct layout_fill){ x->start, (x->end - x->start) / PAGE, x->val };
	}
	step->nfills = (unsigned)fill.n;
	g->p->filled += spans_bytes(&fill) / PAGE;
	if (ok && fill.n)
		ok = make_own(&g->state) && apply(spans_overlay, &g->state->pages, &fill);
	spans_free(&missing);
	spans_free(&fill);
	return ok;
}

/* ---- one mm ------------------------------------------------------------------------------ */

/* Before anything else the vdso goes to its place, over whatever is there. */
static bool place_special(struct stage *g)
{
	for (size_t i = 0; i < g->pl->rec->n_vmas; i++) {
		const Crcore__Vma *v = g->pl->rec->vmas[i];
		if (vma_is_special(v) &&
		    !spans_push(&g->special, (struct span){ v->start, v->end, v->start, 0 }))
			return false;
	}
	for (size_t i = 0; i < g->special.n; i++) {
		const struct span *x = &g->special.v[i];
		const struct spans *pieces = &g->state->pieces;
		bool hit = false;
		for (size_t k = spans_find(pieces, x->start);
		     k < pieces->n && pieces->v[k].start < x->end; k++) {
			hit = true;
			if (still_wanted(g, 0, pieces->v[k].tag, x->start, x->end))
				g->p->lineages[pieces->v[k].tag].in_the_way = true;
		}
		if (hit && (!make_own(&g->state) ||
		            !apply(spans_subtract, &g->state->pieces, &g->special) ||
		            !apply(spans_subtract, &g->state->pages, &g->special)))
			return false;
	}
	return true;
}

static bool find_wide(struct stage *g)
{
	struct spans out = { 0 };

	for (uint32_t i = g->pl->node0; i < g->pl->node0 + g->pl->nnodes; i++) {
		const struct node *n = &g->p->nodes[i];
		if (!n->adrift && !g->p->lineages[n->lineage].lost &&
		    !spans_push(&g->wide, node_extent(g->p, n)))
			return false;
	}
	if (!spans_sort(&g->wide))
		return false;
	for (unsigned i = 0; i < g->pl->nmoments; i++) {
		if (!spans_overlay(&g->pl->moments[i].extents, &g->wide, &out))
			return false;
		spans_free(&g->wide);
		g->wide = out;
		out = (struct spans){ 0 };
	}
	return true;
}

static bool take_step(struct stage *g, unsigned moment)
{
	const struct moment *m = &g->pl->moments[moment];
	struct layout_step step = { .parent = m->parent, .child = m->child };

	if (m->want.n && (!stage_maps(g, moment, &step) || !stage_pages(g, moment, &step)))
		return false;
	if (!GROW(g->l->steps, g->l->nsteps))
		return false;
	g->l->steps[g->l->nsteps++] = step;
	for (unsigned i = 0; i < m->nmms; i++) {
		g->p->places[m->mms[i]].born = g->state;
		g->state->refs++;
	}
	return true;
}

static int build(struct planner *p, struct place *pl, struct layout *l, struct crcore_error *err)
{
	struct stage g = { .p = p, .pl = pl, .l = l, .state = pl->born };
	int r = -ENOMEM;

	l->mm = pl->rec->id;
	pl->born = NULL;
	if ((g.state || make_own(&g.state)) && place_special(&g) && find_wide(&g)) {
		r = layout_order(pl, g.state, err);
		for (unsigned i = 0; i < pl->nmoments && r == 0; i++)
			r = take_step(&g, i) ? 0 : -ENOMEM;
	}
	r = r < 0 ? crcore_no_memory(err) : layout_settle(p, pl, g.state, l, err);
	release(g.state);
	spans_free(&g.special);
	spans_free(&g.wide);
	return r;
}

int layout_stage(struct planner *p, struct crcore_error *err)
{
	int r = 0;

	layouts_free(&p->out);
	p->filled = 0;
	p->splits = 0;
	p->out.v = calloc(p->nordered + 1, sizeof(*p->out.v));
	if (!p->out.v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < p->nordered && r == 0; i++)
		r = build(p, &p->places[p->by_order[i]], &p->out.v[p->out.n++], err);
	return r;
}
