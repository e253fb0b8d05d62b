/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of address ranges (spans.h). Every operation passes over its lists
 * once and writes a new one: lists have thousands of ranges, and there are
 * hundreds of them, so nothing here may be quadratic. An output must not be
 * one of the inputs.
 */
#include <stdlib.h>
#include <string.h>
#include "core/memory/spans.h"

bool spans_push(struct spans *s, struct span x)
{
	if (x.start >= x.end)
		return true;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 16;
		struct span *v = realloc(s->v, cap * sizeof(*v));
		if (!v)
			return false;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = x;
	return true;
}

bool spans_append(struct spans *s, struct span x)
{
	struct span *last = s->n ? &s->v[s->n - 1] : NULL;

	if (last && last->end == x.start && last->tag == x.tag &&
	    last->val + (last->end - last->start) == x.val) {
		last->end = x.end;
		return true;
	}
	return spans_push(s, x);
}

size_t spans_find(const struct spans *s, uint64_t addr)
{
	size_t a = 0, b = s->n;

	while (a < b) {
		size_t m = (a + b) / 2;
		if (s->v[m].end <= addr)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

bool spans_overlap(const struct spans *s, uint64_t start, uint64_t end)
{
	size_t i = spans_find(s, start);

	return i < s->n && s->v[i].start < end;
}

/* The part of x in [start,end). */
static struct span part(struct span x, uint64_t start, uint64_t end)
{
	if (start > x.start) {
		x.val += start - x.start;
		x.start = start;
	}
	if (end < x.end)
		x.end = end;
	return x;
}

bool spans_clip(const struct spans *s, uint64_t start, uint64_t end, struct spans *ret)
{
	for (size_t i = spans_find(s, start); i < s->n && s->v[i].start < end; i++)
		if (!spans_append(ret, part(s->v[i], start, end)))
			return false;
	return true;
}

bool spans_overlay(const struct spans *a, const struct spans *b, struct spans *ret)
{
	uint64_t at = 0; /* done up to here */
	size_t i = 0;

	for (size_t k = 0; k <= b->n; k++) {
		uint64_t until = k < b->n ? b->v[k].start : UINT64_MAX;
		while (i < a->n && a->v[i].end <= at)
			i++;
		for (; i < a->n && a->v[i].start < until; i++) {
			if (!spans_append(ret, part(a->v[i], at, until)))
				return false;
			if (a->v[i].end > until)
				break;
		}
		if (k < b->n) {
			if (!spans_append(ret, b->v[k]))
				return false;
			at = b->v[k].end;
		}
	}
	return true;
}

bool spans_subtract(const struct spans *a, const struct spans *b, struct spans *ret)
{
	size_t k = 0;

	for (size_t i = 0; i < a->n; i++) {
		uint64_t at = a->v[i].start;
		while (k < b->n && b->v[k].end <= at)
			k++;
		for (size_t j = k; at < a->v[i].end; j++) {
			uint64_t until = j < b->n && b->v[j].start < a->v[i].end ? b->v[j].start :
			                 a->v[i].end;
			if (at < until && !spans_append(ret, part(a->v[i], at, until)))
				return false;
			if (until == a->v[i].end)
				break;
			at = b->v[j].end;
		}
	}
	return true;
}

bool spans_drop(struct spans *s, const struct spans *b)
{
	struct spans left = { 0 };
	bool ok = spans_subtract(s, b, &left);

	spans_free(s);
	*s = left;
	return ok;
}

bool spans_differ(const struct spans *a, const struct spans *b, struct spans *ret)
{
	size_t k = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct span *x = &a->v[i];
		uint64_t at = x->start;
		while (k < b->n && b->v[k].end <= at)
			k++;
		for (size_t j = k; at < x->end; j++) {
			const struct span *y = j < b->n && b->v[j].start < x->end ? &b->v[j] : NULL;
			uint64_t until = y ? (y->start > at ? y->start : at) : x->end;
			uint64_t next = y && y->end < x->end ? y->end : x->end;
			if (at < until && !spans_append(ret, part(*x, at, until)))
				return false;
			if (y && y->val + (until - y->start) != x->val + (until - x->start) &&
			    !spans_append(ret, part(*x, until, next)))
				return false;
			at = next;
		}
	}
	return true;
}

bool spans_cut(const struct spans *s, uint64_t at, struct spans *ret)
{
	for (size_t i = 0; i < s->n; i++)
		for (uint64_t from = s->v[i].start, to; from < s->v[i].end; from = to) {
			to = (from | (at - 1)) + 1;
			to = to < s->v[i].end ? to : s->v[i].end;
			if (!spans_push(ret, part(s->v[i], from, to)))
				return false;
		}
	return true;
}

bool spans_join(const struct spans *s, uint64_t near, struct spans *ret)
{
	bool ok = true;

	for (size_t i = 0, k; ok && i < s->n; i = k) {
		for (k = i + 1; k < s->n && s->v[k].start - s->v[k - 1].end <= near; k++)
			;
		ok = spans_push(ret, (struct span){ s->v[i].start, s->v[k - 1].end, s->v[i].start, 0 });
	}
	return ok;
}

bool spans_copy(const struct spans *a, struct spans *ret)
{
	spans_free(ret);
	if (!a->n)
		return true;
	ret->v = malloc(a->n * sizeof(*a->v));
	if (!ret->v)
		return false;
	memcpy(ret->v, a->v, a->n * sizeof(*a->v));
	ret->n = ret->cap = a->n;
	return true;
}

/* ---- sorting ------------------------------------------------------------------- */

static bool merge(const struct spans *s, size_t a, size_t b, size_t c, struct spans *ret)
{
	struct spans x = { s->v + a, b - a, 0 }, y = { s->v + b, c - b, 0 };

	return spans_overlay(&y, &x, ret);
}

/* A merge sort whose merge is the overlay: what overlaps is cut on the way. */
static bool sort(const struct spans *s, size_t a, size_t c, struct spans *ret)
{
	struct spans left = { 0 }, right = { 0 };
	size_t b = a + (c - a) / 2;
	bool ok;

	if (c - a == 1)
		return spans_append(ret, s->v[a]);
	if (c - a == 2)
		return merge(s, a, b, c, ret);
	ok = sort(s, a, b, &left) && sort(s, b, c, &right) && spans_overlay(&right, &left, ret);
	spans_free(&left);
	spans_free(&right);
	return ok;
}

bool spans_sort(struct spans *s)
{
	struct spans out = { 0 };
	bool sorted = true;

	for (size_t i = 1; i < s->n && sorted; i++)
		sorted = s->v[i - 1].end <= s->v[i].start;
	if (sorted)
		return true;
	if (!sort(s, 0, s->n, &out)) {
		spans_free(&out);
		return false;
	}
	spans_free(s);
	*s = out;
	return true;
}

uint64_t spans_bytes(const struct spans *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->v[i].end - s->v[i].start;
	return n;
}

void spans_free(struct spans *s)
{
	free(s->v);
	*s = (struct spans){ 0 };
}
