/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which an mm gives birth. Children that were adopted come later
 * in their parent's list than their memory is old; born in that order, they
 * would want pages that have been replaced already.
 *
 * So the order is found from the end: last may be who leaves nobody else
 * wanting a page that would have to come back. For what may come before a
 * moment, look at what is there after it: where the child has another page
 * than that, nobody earlier can have had the later one, and what the mm was
 * born with itself cannot either. In a true history somebody always qualifies;
 * where nobody does, the order of the image stands, and pages are copied.
 */
#include "core/memory/layout_priv.h"

struct order {
	struct place *pl;
	const struct spans *born; /* pages there in the beginning */
	struct spans future;      /* pages there after the moments not yet placed */
	struct spans *other;      /* of each moment: what it wants in the place of born pages */
};

/* Do a and b have the same page at one address anywhere? */
static bool any_equal(const struct spans *a, const struct spans *b)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = spans_find(b, a->v[i].start);
		     k < b->n && b->v[k].start < a->v[i].end; k++)
			if (a->v[i].val - a->v[i].start == b->v[k].val - b->v[k].start)
				return true;
	return false;
}

/* Does want have a born page anywhere where another has replaced it? */
static bool wants_born(const struct spans *want, const struct spans *born,
                       const struct spans *other)
{
	for (size_t i = 0; i < other->n; i++) {
		struct spans mine = { 0 };
		bool found = spans_clip(want, other->v[i].start, other->v[i].end, &mine) &&
		             any_equal(&mine, born);
		spans_free(&mine);
		if (found)
			return true;
	}
	return false;
}

/* Appends the part of a where b has another page: with what a has there. */
static bool where_others(const struct spans *a, const struct spans *b, struct spans *ret)
{
	struct spans differ = { 0 }, only = { 0 };
	bool ok = spans_differ(a, b, &differ) && spans_subtract(a, b, &only) &&
	          spans_subtract(&differ, &only, ret);

	spans_free(&differ);
	spans_free(&only);
	return ok;
}

/* Does anybody but c, of moments first..last, forbid c to be the last? 1, 0; -1: no memory. */
static int forbidden(const struct order *o, unsigned first, unsigned last, unsigned c)
{
	const struct spans *want = &o->pl->moments[c].want;
	struct spans later = { 0 };
	int r = where_others(&o->future, want, &later) ? 0 : -1;

	if (r == 0 && any_equal(&later, o->born))
		r = 1;
	for (unsigned m = first; m <= last && r == 0; m++)
		if (m != c && (any_equal(&later, &o->pl->moments[m].want) ||
		               wants_born(want, o->born, &o->other[m])))
			r = 1;
	spans_free(&later);
	return r;
}

static void rotate(struct order *o, unsigned from, unsigned to)
{
	struct moment m = o->pl->moments[from];
	struct spans s = o->other[from];

	memmove(&o->pl->moments[from], &o->pl->moments[from + 1], (to - from) * sizeof(m));
	memmove(&o->other[from], &o->other[from + 1], (to - from) * sizeof(s));
	o->pl->moments[to] = m;
	o->other[to] = s;
}

/* Puts one of the moments first..last last. */
static bool place_last(struct order *o, unsigned first, unsigned last)
{
	struct spans out = { 0 };

	for (unsigned c = last + 1; c-- > first && last > first;) {
		int r = forbidden(o, first, last, c);
		if (r < 0)
			return false;
		if (r)
			continue;
		rotate(o, c, last);
		break;
	}
	if (!spans_overlay(&o->future, &o->pl->moments[last].want, &out)) {
		spans_free(&out);
		return false;
	}
	spans_free(&o->future);
	o->future = out;
	return true;
}

/* The first moment that may change places with this one. */
static unsigned group_start(const struct place *pl, unsigned m)
{
	while (m > 0 && pl->moments[m - 1].parent == pl->moments[m].parent &&
	       pl->moments[m - 1].rank == pl->moments[m].rank)
		m--;
	return m;
}

int layout_order(struct place *pl, const struct state *born, struct crcore_error *err)
{
	struct order o = { .pl = pl, .born = &born->pages };
	bool ok = true;

	if (pl->nmoments < 2)
		return 0;
	o.other = calloc(pl->nmoments, sizeof(*o.other));
	ok = o.other && spans_copy(&pl->own, &o.future);
	for (unsigned i = 0; ok && i < pl->nmoments; i++)
		ok = where_others(&pl->moments[i].want, o.born, &o.other[i]);
	for (unsigned i = pl->nmoments; ok && i-- > 0;)
		ok = place_last(&o, group_start(pl, i), i);
	for (unsigned i = 0; o.other && i < pl->nmoments; i++)
		spans_free(&o.other[i]);
	free(o.other);
	spans_free(&o.future);
	return ok ? 0 : crcore_no_memory(err);
}
