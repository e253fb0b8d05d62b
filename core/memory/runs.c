/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of page runs while they are made. */
#include "core/memory/save_priv.h"

static bool goes_on(const Crcore__Run *r, uint64_t addr, Crcore__Source source, uint64_t offset,
                    uint32_t mm)
{
	if (r->addr + r->pages * PAGE != addr || r->source != source || r->mm != mm)
		return false;
	return (source != CRCORE__SOURCE__PAGES && source != CRCORE__SOURCE__OTHER) ||
	       r->offset + r->pages * PAGE == offset;
}

int runs_add(struct runs *l, uint64_t addr, uint64_t pages, Crcore__Source source, uint64_t offset,
             uint32_t mm, struct crcore_error *err)
{
	if (l->n && goes_on(l->v[l->n - 1], addr, source, offset, mm)) {
		l->v[l->n - 1]->pages += pages;
		return 0;
	}
	if (!GROW(l->v, l->n))
		return crcore_no_memory(err);
	Crcore__Run *r = malloc(sizeof(*r));
	if (!r)
		return crcore_no_memory(err);
	crcore__run__init(r);
	r->addr = addr;
	r->pages = pages;
	r->source = source;
	r->offset = offset;
	r->mm = mm;
	l->v[l->n++] = r;
	return 0;
}

static int by_addr(const void *a, const void *b)
{
	const Crcore__Run *x = *(Crcore__Run *const *)a, *y = *(Crcore__Run *const *)b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Joins what goes on, in place. */
static void join(struct runs *l)
{
	size_t n = 0;

	for (size_t i = 1; i < l->n; i++) {
		Crcore__Run *r = l->v[i];
		if (goes_on(l->v[n], r->addr, r->source, r->offset, r->mm)) {
			l->v[n]->pages += r->pages;
			free(r);
		} else {
			l->v[++n] = r;
		}
	}
	l->n = n + 1;
}

/* Most of a list is often in order already, and then at its end: only the rest is sorted, and
 * both are merged. */
int runs_sort(struct runs *l, struct crcore_error *err)
{
	size_t rest = l->n;

	while (rest > 1 && l->v[rest - 2]->addr <= l->v[rest - 1]->addr)
		rest--;
	if (rest > 1) {
		rest--;
		Crcore__Run **first = malloc(rest * sizeof(*first));
		if (!first)
			return crcore_no_memory(err);
		memcpy(first, l->v, rest * sizeof(*first));
		qsort(first, rest, sizeof(*first), by_addr);
		for (size_t i = 0, k = rest, n = 0; i < rest; n++)
			l->v[n] = k == l->n || first[i]->addr <= l->v[k]->addr ? first[i++] : l->v[k++];
		free(first);
	}
	if (l->n > 1)
		join(l);
	return 0;
}

int runs_move(struct runs *to, struct runs *from, struct crcore_error *err)
{
	for (size_t i = 0; i < from->n; i++) {
		if (!GROW(to->v, to->n)) {
			memmove(from->v, from->v + i, (from->n - i) * sizeof(*from->v));
			from->n -= i;
			return crcore_no_memory(err);
		}
		to->v[to->n++] = from->v[i];
	}
	free(from->v);
	*from = (struct runs){ 0 };
	return 0;
}

void runs_clear(struct runs *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct runs){ 0 };
}
