/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saves the memory of a frozen tree in three passes:
 *   collect  every private page with contents, of every mm. A physical page that
 *            an earlier mm has too becomes a run that refers to it.
 *   store    copies the bytes (store.c); pages that are all zero vanish here.
 *   finish   what refers to a page that vanished vanishes too.
 *
 * Frame numbers are only true while the kernel does not move pages about, and
 * it may (compaction, merging). So after all have been looked at, the pages
 * that others refer to are looked at again: a page that is still where it was
 * is the one that the others showed. If one moved, we start over.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include "core/memory/pagemap_scan.h"
#include "core/memory/save_priv.h"

enum { BATCH = 32768, TRIES = 3 };

struct mm_save {
	struct source source;
	struct runs stored, others; /* others: of every other source */
	struct pagemap pagemap;
};

struct save {
	struct tree *tree;
	struct mm_save *mms;
	struct frames frames;
	struct store store;
	struct segments segments;
	uint64_t *entries;        /* BATCH of them */
	struct memory_stats stats;
	bool share;               /* look for shared frames */
};

/* ---- collect ------------------------------------------------------------------------ */

static bool has_own_pages(const Crcore__Vma *v)
{
	return !v->shared && (v->backing == CRCORE__BACKING__ANON ||
	                      v->backing == CRCORE__BACKING__FILE ||
	                      v->backing == CRCORE__BACKING__HUGETLB);
}

/* A zero page says nothing where untouched memory is zero anyway. Huge pages are kept whole. */
static bool keeps_zero(const Crcore__Vma *v)
{
	return v->backing == CRCORE__BACKING__FILE || v->backing == CRCORE__BACKING__HUGETLB;
}

/* What tells a page from all others, or 0 if it need not be told or cannot be. */
static uint64_t frame_key(uint64_t entry)
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
		return memory_enomem(err);
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

static int queue(struct save *s, unsigned mm, const Crcore__Vma *v, uint64_t start, uint64_t end,
                 int what, struct crcore_error *err)
{
	if (start >= end || what == STORED_ELSEWHERE)
		return 0;
	return store_add(&s->store, &s->mms[mm].source, start, (end - start) / PAGE,
	                 what == STORE_SHARED || !(v->prot & PROT_READ), keeps_zero(v), err);
}

/* Pages with data in one mapping: those that others have refer to them, the rest is stored. */
static int add_data(struct save *s, unsigned mm, const Crcore__Vma *v, uint64_t start,
                    uint64_t end, struct crcore_error *err)
{
	uint64_t first = start; /* from there on all are alike: last */
	int last = STORED_ELSEWHERE, r = 0;

	for (uint64_t at = start; r == 0 && at < end;) {
		size_t n = (end - at) / PAGE < BATCH ? (end - at) / PAGE : BATCH;
		r = pages_entries(&s->mms[mm].pagemap, at, s->entries, n, err);
		for (size_t i = 0; r == 0 && i < n; i++, at += PAGE) {
			int what = judge_page(s, mm, v, at, s->entries[i], err);
			if (what < 0)
				return what;
			if (what == last)
				continue;
			r = queue(s, mm, v, first, at, last, err);
			first = at;
			last = what;
		}
	}
	return r < 0 ? r : queue(s, mm, v, first, end, last, err);
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
	return add_data(s, mm, v, start, end, err);
}

/* Cuts ranges (ascending) at the bounds of the mappings [v, v + n). */
static int add_list(struct save *s, unsigned mm, Crcore__Vma *const *v, size_t n,
                    const struct page_list *l, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0, k = 0; r == 0 && i < n; i++) {
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

static int collect_mm(struct save *s, unsigned i, struct crcore_error *err)
{
	const Crcore__Mm *rec = s->tree->mms[i]->rec;
	struct page_list l = { 0 };
	int r = 0;

	/* neighbouring mappings with own pages in one scan; holes cost nothing */
	for (size_t a = 0, b; r == 0 && a < rec->n_vmas; a = b) {
		b = a + 1;
		if (!has_own_pages(rec->vmas[a]))
			continue;
		while (b < rec->n_vmas && has_own_pages(rec->vmas[b]))
			b++;
		l.n = 0;
		r = pages_find(&s->mms[i].pagemap, rec->vmas[a]->start, rec->vmas[b - 1]->end, &l,
		               err);
		if (r == 0)
			r = add_list(s, i, rec->vmas + a, b - a, &l, err);
	}
	free(l.v);
	return r;
}

static void runs_clear(struct runs *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct runs){ 0 };
}

static int collect_all(struct save *s, struct crcore_error *err)
{
	int r = 0;

	free(s->frames.v);
	s->frames = (struct frames){ 0 };
	s->store.njobs = 0;
	s->store.pages = 0;
	s->stats = (struct memory_stats){ 0 };
	for (unsigned i = 0; i < s->tree->nmms && r == 0; i++) {
		runs_clear(&s->mms[i].others);
		r = collect_mm(s, i, err);
	}
	return r;
}

/* ---- look again ------------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
	const struct frame *x = a, *y = b;

	if (x->mm != y->mm)
		return x->mm < y->mm ? -1 : 1;
	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Are the pages that others refer to where they were? Returns 1, 0 or an error. */
static int still_there(struct save *s, struct crcore_error *err)
{
	struct frame *v = s->frames.v;
	size_t n = 0;

	for (size_t i = 0; i < s->frames.cap; i++)
		if (v[i].key && v[i].wanted)
			v[n++] = v[i];
	if (n)
		qsort(v, n, sizeof(*v), by_place);
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i + 1; j < n && j - i < BATCH && v[j].mm == v[i].mm &&
		     v[j].addr == v[j - 1].addr + PAGE; j++)
			;
		int r = pages_entries(&s->mms[v[i].mm].pagemap, v[i].addr, s->entries, j - i, err);
		if (r < 0)
			return r;
		for (size_t k = i; k < j; k++)
			if (frame_key(s->entries[k - i]) != v[k].key)
				return 0;
	}
	return 1;
}

static int collect(struct save *s, struct crcore_error *err)
{
	s->share = s->tree->nmms > 1;
	for (int try = 0; try < TRIES; try++) {
		int r = collect_all(s, err);
		if (r < 0 || !s->share)
			return r;
		r = still_there(s, err);
		if (r != 0)
			return r < 0 ? r : 0;
		log_line(2, "memory: pages were moved meanwhile, looking again");
	}
	s->share = false;
	return collect_all(s, err);
}

/* ---- finish ------------------------------------------------------------------------------ */

/* First run of the list that ends behind addr. */
static size_t find_run(const struct runs *l, uint64_t addr)
{
	size_t a = 0, b = l->n;

	while (a < b) {
		size_t m = (a + b) / 2;
		if (l->v[m]->addr + l->v[m]->pages * PAGE <= addr)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

static unsigned index_of(const struct tree *t, uint32_t id)
{
	unsigned i = 0;

	while (i < t->nmms && t->mms[i]->id != id)
		i++;
	return i;
}

/* Appends to out what of a run refers to pages that were stored. */
static int keep_stored(const Crcore__Run *r, const struct runs *owner, struct runs *out,
                       struct crcore_error *err)
{
	uint64_t end = r->offset + r->pages * PAGE;
	int e = 0;

	for (size_t i = find_run(owner, r->offset); e == 0 && i < owner->n && owner->v[i]->addr < end;
	     i++) {
		const Crcore__Run *o = owner->v[i];
		uint64_t from = o->addr > r->offset ? o->addr : r->offset;
		uint64_t to = o->addr + o->pages * PAGE < end ? o->addr + o->pages * PAGE : end;
		e = runs_add(out, r->addr + (from - r->offset), (to - from) / PAGE,
		             CRCORE__SOURCE__OTHER, from, r->mm, err);
	}
	return e;
}

static int finish_mm(struct save *s, unsigned i, struct crcore_error *err)
{
	struct mm_save *m = &s->mms[i];
	Crcore__Mm *rec = s->tree->mms[i]->rec;
	struct runs all = { 0 };
	unsigned owner = 0;
	int e = 0;

	for (size_t k = 0; k < m->others.n && e == 0; k++) {
		const Crcore__Run *r = m->others.v[k];
		if (r->source != CRCORE__SOURCE__OTHER) {
			e = runs_add(&all, r->addr, r->pages, r->source, 0, 0, err);
			continue;
		}
		if (s->tree->mms[owner]->id != r->mm)
			owner = index_of(s->tree, r->mm);
		e = keep_stored(r, &s->mms[owner].stored, &all, err);
	}
	for (size_t k = 0; k < m->stored.n && e == 0; k++)
		e = runs_add(&all, m->stored.v[k]->addr, m->stored.v[k]->pages,
		             CRCORE__SOURCE__PAGES, m->stored.v[k]->offset, 0, err);
	runs_sort(&all);
	rec->runs = all.v;
	rec->n_runs = all.n;
	return e;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int open_all(struct save *s, struct crcore_error *err)
{
	s->mms = calloc(s->tree->nmms ? s->tree->nmms : 1, sizeof(*s->mms));
	s->entries = malloc(BATCH * sizeof(*s->entries));
	if (!s->mms || !s->entries)
		return memory_enomem(err);
	for (unsigned i = 0; i < s->tree->nmms; i++)
		s->mms[i].pagemap.fd = -1;
	for (unsigned i = 0; i < s->tree->nmms; i++) {
		struct mm *mm = s->tree->mms[i];
		struct mm_save *m = &s->mms[i];
		m->source = (struct source){ .mm = mm, .runs = &m->stored };
		m->pagemap.pid = mm->task->abi.pid;
		m->pagemap.fd = openat(mm->task->proc, "pagemap", O_RDONLY | O_CLOEXEC);
		if (m->pagemap.fd < 0)
			return crcore_fail(err, -errno, "cannot open /proc/%d/pagemap: %s",
			                   m->pagemap.pid, strerror(errno));
	}
	return 0;
}

static void close_all(struct save *s)
{
	for (unsigned i = 0; s->mms && i < s->tree->nmms; i++) {
		if (s->mms[i].pagemap.fd >= 0)
			close(s->mms[i].pagemap.fd);
		runs_clear(&s->mms[i].stored);
		runs_clear(&s->mms[i].others);
	}
	free(s->mms);
	free(s->entries);
	free(s->frames.v);
	free(s->store.jobs);
	segments_free(&s->segments);
}

int memory_save(struct tree *t, struct image *image, const struct contents *contents,
                unsigned ncontents, Crcore__Segment ***ret_segments, unsigned *ret_nsegments,
                struct memory_stats *stats, struct crcore_error *err)
{
	struct save s = { .tree = t, .store = { .image = image } };
	int r;

	if ((r = open_all(&s, err)) < 0 || (r = collect(&s, err)) < 0 ||
	    (r = segments_find(t, contents, ncontents, &s.segments, &s.store, err)) < 0 ||
	    (r = store_run(&s.store, err)) < 0)
		goto out;
	for (unsigned i = 0; i < t->nmms; i++)
		runs_sort(&s.mms[i].stored);
	for (unsigned i = 0; r == 0 && i < t->nmms; i++)
		r = finish_mm(&s, i, err);
	if (r < 0)
		goto out;
	for (unsigned i = 0; i < s.segments.n; i++) {
		runs_sort(&s.segments.runs[i]);
		s.segments.v[i]->runs = STEAL(s.segments.runs[i].v);
		s.segments.v[i]->n_runs = s.segments.runs[i].n;
	}
	s.stats.stored = s.store.stored;
	s.stats.zero += s.store.zero;
	*stats = s.stats;
	*ret_segments = STEAL(s.segments.v);
	*ret_nsegments = s.segments.n;
out:
	close_all(&s);
	return r;
}
