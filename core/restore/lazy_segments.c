/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which shared memory is left to the pager: anonymous segments. The only way to their bytes is
 * through mappings, and nobody but the tree and its children can have one; so each is watched, in
 * every space. What plugins keep is another matter: it has a name or a descriptor, and whoever
 * reads that, or maps it anew, is told by nobody that bytes are missing.
 */
#include "core/restore/lazy_priv.h"
#include "core/restore/uffd.h"

#define SEGMENTS_MAX 64 /* for each the pager has a thread */

static bool has_good_runs(const struct restore *r, const Crcore__Segment *s, uint64_t *ret_pages)
{
	const uint64_t size = ALIGN_UP(s->size, PAGE), length = pages_length(r->pages);
	uint64_t at = 0;

	*ret_pages = 0;
	for (size_t i = 0; i < s->n_runs; i++) {
		const Crcore__Run *run = s->runs[i];
		if (run->addr < at || run->addr > size || run->addr % PAGE ||
		    run->pages > (size - run->addr) / PAGE)
			return false;
		at = run->addr + run->pages * PAGE;
		if (run->source != CRCORE__SOURCE__PAGES)
			continue;
		if (run->offset % PAGE || run->offset > length ||
		    run->pages > (length - run->offset) / PAGE)
			return false;
		*ret_pages += run->pages;
	}
	return true;
}

/* Those that are worth it; the records decide, which are refused elsewhere if they are wrong. */
static bool find_candidates(struct restore *r, struct lazy *z)
{
	uint64_t pages;

	for (unsigned i = 0; i < r->rec.nsegments && z->nsegments < SEGMENTS_MAX; i++) {
		const Crcore__Segment *s = r->rec.segments[i];
		if (s->plugin[0] || s->hugetlb || !has_good_runs(r, s, &pages) || pages * PAGE < LAZY_WORTH)
			continue;
		if (!GROW(z->segments, z->nsegments))
			return false;
		z->segments[z->nsegments++] = (struct lazy_segment){ .rec = s };
	}
	return true;
}

static struct lazy_segment *segment_of(const struct lazy *z, const Crcore__Vma *v)
{
	for (unsigned i = 0; v->backing == CRCORE__BACKING__SEGMENT && i < z->nsegments; i++)
		if (z->segments[i].rec && z->segments[i].rec->id == v->object)
			return &z->segments[i];
	return NULL;
}

static bool is_fit(const Crcore__Vma *v)
{
	return v->shared && !v->grows_down && !v->locked && !v->droppable && !v->sealed &&
	       !(v->advice & ~LAZY_HARMLESS);
}

static bool has_layout(const struct restore *r, uint32_t mm)
{
	for (unsigned i = 0; i < r->layouts.n; i++)
		if (r->layouts.v[i].mm == mm)
			return true;
	return false;
}

/* One mapping that cannot be watched is enough. */
static void drop_unfit(struct restore *r, struct lazy *z)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->rec.nmms; i++) {
		const Crcore__Mm *mm = r->rec.mms[i];
		for (size_t k = 0; k < mm->n_vmas; k++) {
			struct lazy_segment *s = segment_of(z, mm->vmas[k]);
			if (s && is_fit(mm->vmas[k]) && has_layout(r, mm->id))
				s->used = true;
			else if (s)
				s->rec = NULL;
		}
	}
	for (unsigned i = 0; i < z->nsegments; i++)
		if (z->segments[i].rec && z->segments[i].used)
			z->segments[n++] = z->segments[i];
	z->nsegments = n;
}

static bool add_fills(struct lazy_segment *s)
{
	for (size_t i = 0; i < s->rec->n_runs; i++) {
		const Crcore__Run *run = s->rec->runs[i];
		if (run->source != CRCORE__SOURCE__PAGES)
			continue;
		if (!GROW(s->fills, s->n))
			return false;
		s->fills[s->n++] = (struct layout_fill){ run->addr, run->pages, run->offset };
	}
	return true;
}

static int by_start(const void *a, const void *b)
{
	const struct layout_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Ranges that are watched ascend, and neighbours are one. */
static bool add_ranges(struct lazy_mm *m)
{
	cleanup_free struct layout_range *v = calloc(m->nranges + m->nmappings, sizeof(*v));
	unsigned n = 0;
	bool ok = v;

	for (unsigned i = 0; ok && i < m->nranges; i++)
		v[n++] = m->ranges[i];
	for (unsigned i = 0; ok && i < m->nmappings; i++)
		v[n++] = (struct layout_range){ m->mappings[i].start, m->mappings[i].end };
	if (n)
		qsort(v, n, sizeof(*v), by_start);
	m->nranges = 0;
	free(STEAL(m->ranges));
	for (unsigned i = 0; ok && i < n; i++)
		ok = uffd_add_range(&m->ranges, &m->nranges, v[i].start, v[i].end);
	return ok;
}

static bool add_mappings(const struct lazy *z, struct lazy_mm *m, const Crcore__Mm *mm)
{
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const Crcore__Vma *v = mm->vmas[i];
		const struct lazy_segment *s = segment_of(z, v);
		if (!s)
			continue;
		if (!GROW(m->mappings, m->nmappings))
			return false;
		m->mappings[m->nmappings++] = (struct pager_mapping){ v->start, v->end, v->offset,
			                                             (unsigned)(s - z->segments) };
	}
	return !m->nmappings || add_ranges(m);
}

int lazy_segments_plan(struct restore *r, struct crcore_error *err)
{
	struct lazy *z = r->lazy;
	bool ok = find_candidates(r, z);

	if (ok)
		drop_unfit(r, z);
	for (unsigned i = 0; i < z->nsegments && ok; i++)
		ok = add_fills(&z->segments[i]);
	for (unsigned i = 0; i < r->layouts.n && ok; i++)
		for (unsigned k = 0; k < r->rec.nmms && ok; k++)
			if (r->rec.mms[k]->id == r->layouts.v[i].mm)
				ok = add_mappings(z, &z->v[i], r->rec.mms[k]);
	return ok ? 0 : crcore_no_memory(err);
}

bool lazy_segment(const struct restore *r, const Crcore__Segment *rec, unsigned *ret)
{
	for (unsigned i = 0; r->lazy && i < r->lazy->nsegments; i++)
		if (r->lazy->segments[i].rec == rec) {
			*ret = i;
			return true;
		}
	return false;
}

int lazy_segment_give(struct restore *r, unsigned i, int fd, struct crcore_error *err)
{
	return pager_take_segment(r->lazy->pager, i, fd, err);
}

void lazy_segments_end(struct lazy *z)
{
	for (unsigned i = 0; i < z->nsegments; i++)
		free(z->segments[i].fills);
	free(z->segments);
}
