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
		return memory_enomem(err);
	Crcore__Run *r = malloc(sizeof(*r));
	if (!r)
		return memory_enomem(err);
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

void runs_sort(struct runs *l)
{
	size_t n = 0;

	if (l->n < 2)
		return;
	qsort(l->v, l->n, sizeof(*l->v), by_addr);
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

void runs_clear(struct runs *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct runs){ 0 };
}
