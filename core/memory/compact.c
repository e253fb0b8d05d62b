/* SPDX-License-Identifier: Apache-2.0 */
/* See compact.h. */
#include <stdlib.h>
#include "core/memory/compact.h"
#include "core/util/util.h"

bool compact_add(struct compact *c, uint64_t old, uint64_t len)
{
	if (!len)
		return true;
	if (!GROW(c->v, c->n))
		return false;
	c->v[c->n] = (struct piece){ .old = old, .len = len, .turn = c->n };
	c->n++;
	return true;
}

static int by_old(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->old != y->old)
		return x->old < y->old ? -1 : 1;
	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

static int by_turn(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

static int by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static void sort(struct compact *c, int (*cmp)(const void *, const void *))
{
	if (c->n)
		qsort(c->v, c->n, sizeof(*c->v), cmp);
}

/* What several refer to is one piece, in the place of one of them. */
void compact_place(struct compact *c)
{
	uint64_t done = 0;
	size_t n = 0;

	sort(c, by_old);
	for (size_t i = 0; i < c->n; i++) {
		struct piece p = c->v[i];
		if (p.old + p.len <= done)
			continue;
		if (p.old < done) {
			p.len -= done - p.old;
			p.old = done;
		}
		done = p.old + p.len;
		c->v[n++] = p;
	}
	c->n = n;
	sort(c, by_turn);
	for (size_t i = 0; i < n; i++) {
		c->v[i].at = c->length;
		c->length += c->v[i].len;
	}
	sort(c, by_old);
}

uint64_t compact_find(const struct compact *c, uint64_t old, uint64_t *ret_len)
{
	size_t a = 0, b = c->n - 1;

	while (a < b) {
		size_t m = (a + b) / 2;
		if (c->v[m].old + c->v[m].len <= old)
			a = m + 1;
		else
			b = m;
	}
	*ret_len = c->v[a].old + c->v[a].len - old;
	return c->v[a].at + (old - c->v[a].old);
}

void compact_by_place(struct compact *c)
{
	sort(c, by_place);
}

void compact_free(struct compact *c)
{
	free(c->v);
	*c = (struct compact){ 0 };
}
