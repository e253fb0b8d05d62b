/* SPDX-License-Identifier: Apache-2.0 */
/* See known.h. Pure but for known_read(). */
#include <string.h>
#include "core/memory/known.h"
#include "core/memory/memory.h"
#include "core/task/task.h"
#include "core/util/util.h"

int known_read(struct known *k, const struct task *t, const struct flags *f,
               struct crcore_error *err)
{
	int r = vma_list_read(&k->list, t, &(struct vmas_how){ .flags = f }, err);

	for (size_t i = 0; r == 0 && i < k->list.n; i++) {
		struct vma_text *v = &k->list.v[i];
		if (spans_overlap(&k->watched, v->start, v->end))
			v->flags &= ~(uint32_t)(VMF_UFFD | VMF_WRITES);
	}
	return r;
}

/* Of the same backing, at the same distance from it? */
static bool is_alike(const struct vma_text *a, const struct vma_text *b)
{
	bool file = a->ino || a->dev;

	return a->prot == b->prot && a->shared == b->shared && a->dev == b->dev &&
	       a->ino == b->ino && (!file || a->start - a->offset == b->start - b->offset) &&
	       a->path_len == b->path_len && !memcmp(a->path, b->path, a->path_len);
}

/*
 * A mapping keeps its flags when it grows or shrinks at one end, and the kernel joins
 * only mappings that have the same. What has neither end where it was may be new.
 */
bool known_complete(const struct known *k, struct vma_text *v)
{
	size_t a = 0, b = k->list.n;

	while (a < b) { /* the first that ends behind the start */
		size_t m = (a + b) / 2;
		if (k->list.v[m].end <= v->start)
			a = m + 1;
		else
			b = m;
	}
	for (; a < k->list.n && k->list.v[a].start < v->end; a++) {
		const struct vma_text *w = &k->list.v[a];
		if ((w->start != v->start && w->end != v->end) || !is_alike(w, v))
			continue;
		v->flags = w->flags;
		v->page_kb = w->page_kb;
		v->protection_key = w->protection_key;
		v->has_flags = w->has_flags;
		return true;
	}
	return false;
}

void known_free(struct known *k)
{
	vma_list_free(&k->list);
	spans_free(&k->watched);
	*k = (struct known){ 0 };
}
