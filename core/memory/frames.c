/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of physical pages by frame number (open addressing, never shrinks).
 * Only pages that are mapped more than once come here, so a process that has
 * no forks costs nothing.
 */
#include "core/memory/save_priv.h"

static size_t slot_of(const struct frames *f, uint64_t key)
{
	size_t i = (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (f->cap - 1);

	while (f->v[i].key && f->v[i].key != key)
		i = (i + 1) & (f->cap - 1);
	return i;
}

static bool grow(struct frames *f)
{
	struct frames bigger = { .cap = f->cap ? 2 * f->cap : 4096, .n = f->n };

	bigger.v = calloc(bigger.cap, sizeof(*bigger.v));
	if (!bigger.v)
		return false;
	for (size_t i = 0; i < f->cap; i++)
		if (f->v[i].key)
			bigger.v[slot_of(&bigger, f->v[i].key)] = f->v[i];
	free(f->v);
	*f = bigger;
	return true;
}

struct frame *frames_get(struct frames *f, uint64_t key, bool *ret_new)
{
	if (2 * (f->n + 1) > f->cap && !grow(f))
		return NULL;
	struct frame *e = &f->v[slot_of(f, key)];
	*ret_new = !e->key;
	if (!e->key) {
		e->key = key;
		f->n++;
	}
	return e;
}
