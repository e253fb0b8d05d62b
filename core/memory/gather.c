/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first pass over a frozen tree's memory (save.c): finds the private pages
 * with contents and decides of each where its bytes are or will be: stored
 * earlier by another mm that has the same physical page, copied ahead and not
 * written to since (watch.c), or yet to be stored.
 */
#include <sys/mman.h>
#include "core/memory/pagemap_scan.h"
#include "core/memory/watch.h"

/* ---- collect ------------------------------------------------------------------------ */

/* A zero page says nothing where untouched memory is zero anyway. Huge pages are kept whole. */
static bool keeps_zero(const Crcore__Vma *v)
{
	return v->backing == CRCORE__BACKING__FILE || v->backing == CRCORE__BACKING__HUGETLB;
}

/* What tells a page from all others, or 0 if it need not be told or cannot be. */
uint64_t frame_key(uint64_t entry)
{
	if ((entry & PM_EXCLUSIVE) || !(entry & PM_FRAME))
		return 0;
	return entry & (PM_FRAME | PM_SWAPPED);
}

enum what { STORE_OWN, STORE_SHARED, STORED_ELSEWHERE };

/* Has an earlier mm this page too? Then a run says so. */
static int judge_page(struct save *s, unsigned mm, const Crcore__Vma *v, uint64_t addr,
                      uint64_t entry, struct crcore_error *err)
{
	uint64_t key = frame_key(entry);
	bool is_new;

	if (!key || !s->share)
		return entry & PM_EXCLUSIVE ? STORE_OWN : STORE_SHARED;
	struct frame *f = frames_get(&s->frames, key, &is_new);
	if (!f)
		return crcore_no_memory(err);
	if (is_new)
		*f = (struct frame){ key, addr, mm, keeps_zero(v), false };
	if (f->mm == mm || f->keep_zero != keeps_zero(v)) /* merged by content: kept apart */
		return STORE_SHARED;
	f->wanted = true;
	s->stats.shared++;
	int r = runs_add(&s->mms[mm].others, addr, 1, CRCORE__SOURCE__OTHER, f->addr,
	                 s->tree->mms[f->mm]->id, err);
	return r < 0 ? r : STORED_ELSEWHERE;
}

/* What of [start, end) was copied ahead needs no copying. */
static int add_saved(struct save *s, struct mm_save *m, const struct spans *saved, uint64_t start,
                     uint64_t end, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = spans_find(saved, start); r == 0 && i < saved->n && saved->v[i].start < end;
	     i++) {
		const struct span *x = &saved->v[i];
		uint64_t from = x->start > start ? x->start : start, to = x->end < end ? x->end : end;
		s->stats.ahead += (to - from) / PAGE;
		if (x->tag == SAVED_BYTES)
			r = runs_add(&m->stored, from, (to - from) / PAGE, CRCORE__SOURCE__PAGES,
			             x->val + (from - x->start), 0, err);
		if (x->tag == SAVED_BEFORE && !spans_append(&m->kept, (struct span){ from, to, from, 0 }))
			r = crcore_no_memory(err);
	}
	return r;
}

static int queue(struct save *s, unsigned mm, const Crcore__Vma *v, const struct spans *saved,
                 uint64_t start, uint64_t end, int what, struct crcore_error *err)
{
	if (start >= end || what == STORED_ELSEWHERE)
		return 0;
	if (saved)
		return add_saved(s, &s->mms[mm], saved, start, end, err);
	return store_add(&s->store, &s->mms[mm].source, start, (end - start) / PAGE,
	                 what == STORE_SHARED || !(v->prot & PROT_READ), keeps_zero(v), err);
}

/* Pages with data in one mapping: those that others have refer to them, the rest is stored,
 * or is saved already: then saved is not NULL. */
static int add_data(struct save *s, unsigned mm, const Crcore__Vma *v, const struct spans *saved,
                    uint64_t start, uint64_t end, struct crcore_error *err)
{
	uint64_t first = start; /* from there on all are alike: last */
	int last = STORED_ELSEWHERE, r = 0;

	for (uint64_t at = start; r == 0 && at < end;) {
		size_t n = (end - at) / PAGE < SAVE_BATCH ? (end - at) / PAGE : SAVE_BATCH;
		r = pages_entries(&s->mms[mm].pagemap, at, s->entries, n, err);
		for (size_t i = 0; r == 0 && i < n; i++, at += PAGE) {
			int what = judge_page(s, mm, v, at, s->entries[i], err);
			if (what < 0)
				return what;
			if (what == last)
				continue;
			r = queue(s, mm, v, saved, first, at, last, err);
			first = at;
			last = what;
		}
	}
	return r < 0 ? r : queue(s, mm, v, saved, first, end, last, err);
}

static int add_range(struct save *s, unsigned mm, const Crcore__Vma *v, uint64_t start,
                     uint64_t end, enum page_sort sort, struct crcore_error *err)
{
	uint64_t pages = (end - start) / PAGE;

	if (sort == PAGES_GUARD)
		return runs_add(&s->mms[mm].others, start, pages, CRCORE__SOURCE__GUARD, 0, 0, err);
	s->stats.scanned += pages;
	if (sort == PAGES_ZERO && !keeps_zero(v)) {
		s->stats.zero += pages;
		return 0;
	}
	return add_data(s, mm, v, NULL, start, end, err);
}

/* Cuts ranges (ascending) at the bounds of the mappings [v, v + n). */
static int add_list(struct save *s, unsigned mm, Crcore__Vma *const *v, size_t n,
                    const struct page_list *l, struct crcore_error *err)
{
	size_t k = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		while (k < l->n && l->v[k].end <= v[i]->start)
			k++;
		for (size_t j = k; r == 0 && j < l->n && l->v[j].start < v[i]->end; j++) {
			uint64_t start = l->v[j].start > v[i]->start ? l->v[j].start : v[i]->start;
			uint64_t end = l->v[j].end < v[i]->end ? l->v[j].end : v[i]->end;
			r = add_range(s, mm, v[i], start, end, l->v[j].sort, err);
		}
	}
	return r;
}

/* ---- what was copied ahead ------------------------------------------------------------ */

/* Of each page that is saved already: do others have it now, that were forked since? */
static int judge_kept(struct save *s, unsigned mm, Crcore__Vma *const *v, size_t n,
                      const struct spans *kept, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		for (size_t k = spans_find(kept, v[i]->start);
		     r == 0 && k < kept->n && kept->v[k].start < v[i]->end; k++) {
			const struct span *x = &kept->v[k];
			uint64_t start = x->start > v[i]->start ? x->start : v[i]->start;
			uint64_t end = x->end < v[i]->end ? x->end : v[i]->end;
			r = add_data(s, mm, v[i], kept, start, end, err);
		}
	return r;
}

/* Remembers what is not as it was saved; what is, is found out when nobody waits. */
static bool remember(struct mm_save *m, const struct spans *other)
{
	bool ok = true;

	for (size_t i = 0; ok && i < other->n; i++)
		ok = spans_append(&m->changed, other->v[i]);
	return ok;
}

/* Anonymous mappings [v, v + n) of an mm that is watched: only what was written to since,
 * or never was copied, is looked at closer. other: what is not certain to be as it was. */
static int collect_watched(struct save *s, unsigned mm, Crcore__Vma *const *v, size_t n,
                           const struct spans *other, struct crcore_error *err)
{
	struct mm_save *m = &s->mms[mm];
	struct spans kept = { 0 }, clean = { 0 }, left = { 0 };
	struct page_list l = { 0 };
	uint64_t start = v[0]->start, end = v[n - 1]->end;
	const struct spans whole = { &(struct span){ start, end, start, 0 }, 1, 1 };
	int r = 0;

	/* left: clean, but not saved */
	if (!spans_subtract(&whole, other, &clean) || !spans_subtract(&clean, m->covered, &left) ||
	    !remember(m, other))
		r = crcore_no_memory(err);
	for (size_t i = 0; r == 0 && i < left.n; i++) {
		l.n = 0;
		r = pages_find(&m->pagemap, left.v[i].start, left.v[i].end, true, &l, err);
		if (r == 0)
			r = add_list(s, mm, v, n, &l, err);
	}
	if (r == 0 && s->forked)
		r = spans_subtract(m->saved, other, &kept) ? judge_kept(s, mm, v, n, &kept, err)
		                                           : crcore_no_memory(err);
	free(l.v);
	spans_free(&kept);
	spans_free(&clean);
	spans_free(&left);
	return r;
}

int gather_kept(struct save *s, unsigned mm, struct crcore_error *err)
{
	const Crcore__Mm *rec = s->tree->mms[mm]->rec;
	struct mm_save *m = &s->mms[mm];
	struct spans kept = { 0 };
	int r = 0;

	if (!m->saved || s->forked)
		return 0;
	if (!spans_subtract(m->saved, &m->changed, &kept))
		r = crcore_no_memory(err);
	for (size_t i = 0; r == 0 && i < rec->n_vmas; i++)
		if (rec->vmas[i]->backing == CRCORE__BACKING__ANON && has_own_pages(rec->vmas[i]))
			r = add_saved(s, m, &kept, rec->vmas[i]->start, rec->vmas[i]->end, err);
	spans_free(&kept);
	return r;
}

/* ---- the whole of an mm ----------------------------------------------------------------- */

/* What was found of a group that ends at end; *piece: the next of all. */
static int join_pieces(const struct save *s, unsigned mm, uint64_t end, size_t *piece,
                       struct page_list *l, struct spans *other, struct crcore_error *err)
{
	int r = 0;

	for (; *piece < s->npieces; ++*piece) {
		const struct area *p = &s->pieces[*piece];
		if (p->mm != mm || p->start >= end)
			break;
		for (size_t i = 0; r == 0 && i < p->pages.n; i++)
			r = page_list_add(l, p->pages.v[i].start, p->pages.v[i].end,
			                  p->pages.v[i].sort, err);
		for (size_t i = 0; r == 0 && i < p->other.n; i++)
			if (!spans_append(other, p->other.v[i]))
				r = crcore_no_memory(err);
	}
	return r;
}

static int collect_mm(struct save *s, unsigned i, size_t *piece, struct crcore_error *err)
{
	const Crcore__Mm *rec = s->tree->mms[i]->rec;
	struct page_list l = { 0 };
	struct spans other = { 0 };
	bool own, anon;
	int r = 0;

	for (size_t a = 0, b; r == 0 && a < rec->n_vmas; a = b) {
		b = next_group(rec, a, &own, &anon);
		if (!own)
			continue;
		l.n = other.n = 0;
		r = join_pieces(s, i, rec->vmas[b - 1]->end, piece, &l, &other, err);
		if (r == 0)
			r = add_list(s, i, rec->vmas + a, b - a, &l, err);
		if (r == 0 && anon && s->mms[i].saved)
			r = collect_watched(s, i, rec->vmas + a, b - a, &other, err);
	}
	free(l.v);
	spans_free(&other);
	return r;
}

int gather(struct save *s, struct crcore_error *err)
{
	size_t piece = 0;

	free(s->frames.v);
	s->frames = (struct frames){ 0 };
	s->store.njobs = 0;
	s->store.pages = 0;
	s->stats = (struct memory_stats){ 0 };
	int r = find_pages(s, err);
	for (unsigned i = 0; i < s->tree->nmms && r == 0; i++) {
		runs_clear(&s->mms[i].others);
		runs_clear(&s->mms[i].stored);
		spans_free(&s->mms[i].changed);
		spans_free(&s->mms[i].kept);
		r = collect_mm(s, i, &piece, err);
	}
	pieces_clear(s);
	return r;
}
