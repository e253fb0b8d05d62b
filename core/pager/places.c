/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See places.h. Pages are cut out one chunk after the other while there may be 60,000
 * ranges, so a cut that leaves nothing of a range leaves an empty one in its place: nothing
 * is shifted. Only the hole in the middle of a range, and a move, pass over the list.
 */
#include <stdlib.h>
#include <string.h>
#include "core/pager/places.h"

static bool room(struct places *p, size_t more)
{
	if (p->n + more <= p->cap)
		return true;
	size_t cap = p->cap ? 2 * p->cap : 16;
	while (cap < p->n + more)
		cap *= 2;
	struct span *v = realloc(p->v, cap * sizeof(*v));
	if (!v)
		return false;
	p->v = v;
	p->cap = cap;
	return true;
}

static size_t find(const struct places *p, uint64_t addr)
{
	const struct spans s = { p->v, p->n, p->cap };

	return spans_find(&s, addr);
}

bool places_add(struct places *p, uint64_t addr, uint64_t len, uint64_t offset)
{
	if (!room(p, 1))
		return false;
	p->v[p->n++] = (struct span){ addr, addr + len, offset, 0 };
	p->bytes += len;
	return true;
}

const struct span *places_from(const struct places *p, uint64_t addr)
{
	size_t i = find(p, addr);

	while (i < p->n && p->v[i].start == p->v[i].end)
		i++;
	return i < p->n ? &p->v[i] : NULL;
}

const struct span *places_at(const struct places *p, uint64_t addr)
{
	const struct span *s = places_from(p, addr);

	return s && s->start <= addr ? s : NULL;
}

bool places_cut(struct places *p, uint64_t start, uint64_t end)
{
	size_t i = find(p, start);

	if (i < p->n && p->v[i].start < start && p->v[i].end > end) { /* a hole */
		if (!room(p, 1))
			return false;
		memmove(&p->v[i + 1], &p->v[i], (p->n++ - i) * sizeof(*p->v));
		p->v[i].end = start;
		p->v[i + 1].val += end - p->v[i + 1].start;
		p->v[i + 1].start = end;
		p->bytes -= end - start;
		return true;
	}
	for (; i < p->n && p->v[i].start < end; i++) {
		struct span *s = &p->v[i];
		uint64_t from = s->start > start ? s->start : start, to = s->end < end ? s->end : end;
		p->bytes -= to - from;
		if (from > s->start) {
			s->end = from;
		} else {
			s->val += to - s->start;
			s->start = to;
		}
	}
	return true;
}

/* What is in the range, by its new addresses. */
static bool collect(const struct places *p, uint64_t from, uint64_t to, uint64_t len,
                    struct places *ret)
{
	for (const struct span *s = places_from(p, from); s && s->start < from + len;
	     s = places_from(p, s->end)) {
		uint64_t a = s->start > from ? s->start : from;
		uint64_t b = s->end < from + len ? s->end : from + len;
		if (!places_add(ret, a - from + to, b - a, s->val + (a - s->start)))
			return false;
	}
	return true;
}

/* b into a, instead of what is empty there: a has nothing else between its ends. */
static void insert(struct places *a, const struct places *b)
{
	if (!b->n)
		return;
	size_t i = find(a, b->v[0].start), k = i;
	while (k < a->n && a->v[k].start < b->v[b->n - 1].end)
		k++;
	memmove(&a->v[i + b->n], &a->v[k], (a->n - k) * sizeof(*a->v));
	memcpy(&a->v[i], b->v, b->n * sizeof(*b->v));
	a->n = a->n - k + i + b->n;
	a->bytes += b->bytes;
}

bool places_move(struct places *p, uint64_t from, uint64_t to, uint64_t len)
{
	struct places moved = { 0 };
	/* Each cut may make one more. */
	bool ok = collect(p, from, to, len, &moved) && room(p, moved.n + 2);

	if (ok) {
		places_cut(p, from, from + len);
		places_cut(p, to, to + len);
		insert(p, &moved);
	}
	places_free(&moved);
	return ok;
}

bool places_copy(const struct places *p, struct places *ret)
{
	for (const struct span *s = places_from(p, 0); s; s = places_from(p, s->end))
		if (!places_add(ret, s->start, s->end - s->start, s->val)) {
			places_free(ret);
			return false;
		}
	return true;
}

void places_free(struct places *p)
{
	free(p->v);
	*p = (struct places){ 0 };
}
