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
#include "core/memory/watch.h"

enum { TRIES = 3 };

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
		for (j = i + 1; j < n && j - i < SAVE_BATCH && v[j].mm == v[i].mm &&
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
		int r = gather(s, err);
		if (r < 0 || !s->share)
			return r;
		r = still_there(s, err);
		if (r != 0)
			return r < 0 ? r : 0;
		log_line(2, "memory: pages were moved meanwhile, looking again");
	}
	s->share = false;
	return gather(s, err);
}

/* ---- finish ------------------------------------------------------------------------------ */

static unsigned index_of(const struct tree *t, uint32_t id)
{
	unsigned i = 0;

	while (i < t->nmms && t->mms[i]->id != id)
		i++;
	return i;
}

/* Appends to out what of a run refers to pages in [start, end). */
static int keep_part(const Crcore__Run *r, uint64_t start, uint64_t end, struct runs *out,
                     struct crcore_error *err)
{
	uint64_t from = start > r->offset ? start : r->offset, last = r->offset + r->pages * PAGE;
	uint64_t to = end < last ? end : last;

	return runs_add(out, r->addr + (from - r->offset), (to - from) / PAGE,
	                CRCORE__SOURCE__OTHER, from, r->mm, err);
}

/* Appends to out what of a run refers to pages that were stored, or are kept. */
static int keep_stored(const Crcore__Run *r, const struct mm_save *owner, struct runs *out,
                       struct crcore_error *err)
{
	const struct runs *stored = &owner->stored;
	const struct spans *kept = &owner->kept;
	uint64_t end = r->offset + r->pages * PAGE;
	int e = 0;

	for (size_t i = runs_behind(stored->v, stored->n, r->offset);
	     e == 0 && i < stored->n && stored->v[i]->addr < end; i++)
		e = keep_part(r, stored->v[i]->addr, stored->v[i]->addr + stored->v[i]->pages * PAGE,
		              out, err);
	for (size_t i = spans_find(kept, r->offset); e == 0 && i < kept->n && kept->v[i].start < end;
	     i++)
		e = keep_part(r, kept->v[i].start, kept->v[i].end, out, err);
	return e;
}

/* What refers to pages of others refers to what of them was stored. */
static int find_others(struct save *s, unsigned i, struct crcore_error *err)
{
	struct mm_save *m = &s->mms[i];
	struct runs found = { 0 };
	unsigned owner = 0;
	int e = 0;

	for (size_t k = 0; k < m->others.n && e == 0; k++) {
		const Crcore__Run *r = m->others.v[k];
		if (r->source != CRCORE__SOURCE__OTHER) {
			e = runs_add(&found, r->addr, r->pages, r->source, 0, 0, err);
			continue;
		}
		if (s->tree->mms[owner]->id != r->mm)
			owner = index_of(s->tree, r->mm);
		e = keep_stored(r, &s->mms[owner], &found, err);
	}
	runs_clear(&m->others);
	m->others = found;
	return e;
}

/* What is kept as few ranges, in which pages that have runs of their own may lie. */
static int join_kept(const struct mm_save *m, const struct runs *own, struct runs *ret,
                     struct crcore_error *err)
{
	struct spans runs = { 0 }, all = { 0 };
	bool ok = true;
	int r = 0;

	for (size_t i = 0; ok && m->kept.n && i < own->n; i++)
		ok = spans_append(&runs, (struct span){ own->v[i]->addr, own->v[i]->addr +
		                                        own->v[i]->pages * PAGE, own->v[i]->addr, 0 });
	ok = ok && spans_overlay(&m->kept, &runs, &all);
	for (size_t i = 0, k = 0, n; ok && r == 0 && i < m->kept.n; i = n) {
		while (all.v[k].end <= m->kept.v[i].start)
			k++;
		for (n = i + 1; n < m->kept.n && m->kept.v[n].start < all.v[k].end; n++)
			;
		r = runs_add(ret, m->kept.v[i].start, (m->kept.v[n - 1].end - m->kept.v[i].start) / PAGE,
		             CRCORE__SOURCE__PARENT, 0, m->before, err);
	}
	spans_free(&runs);
	spans_free(&all);
	return ok ? r : crcore_no_memory(err);
}

static int finish_mm(struct save *s, unsigned i, struct crcore_error *err)
{
	struct mm_save *m = &s->mms[i];
	Crcore__Mm *rec = s->tree->mms[i]->rec;
	struct runs kept = { 0 };
	int r = runs_move(&m->others, &m->stored, err);

	r = r < 0 ? r : runs_sort(&m->others, err);
	r = r < 0 ? r : join_kept(m, &m->others, &kept, err);
	rec->kept = kept.v;
	rec->n_kept = kept.n;
	if (r < 0)
		return r;
	store_settle(&s->store, m->others.v, m->others.n);
	rec->runs = m->others.v;
	rec->n_runs = m->others.n;
	m->others = (struct runs){ 0 };
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int open_all(struct save *s, struct crcore_error *err)
{
	s->mms = calloc(s->tree->nmms ? s->tree->nmms : 1, sizeof(*s->mms));
	s->entries = malloc(SAVE_BATCH * sizeof(*s->entries));
	if (!s->mms || !s->entries)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < s->tree->nmms; i++)
		s->mms[i].pagemap.fd = -1;
	for (unsigned i = 0; i < s->tree->nmms; i++) {
		struct mm *mm = s->tree->mms[i];
		struct mm_save *m = &s->mms[i];
		m->source = (struct source){ .mm = mm, .runs = &m->stored };
		const struct watched *w = watch_find(s->watch, mm->task->abi.pid);
		m->saved = w ? &w->saved : NULL;
		m->covered = w ? &w->covered : NULL;
		m->before = w ? w->before : 0;
		s->forked = s->forked || (s->watch && !watch_knew(s->watch, mm->task->abi.pid));
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
		spans_free(&s->mms[i].changed);
		spans_free(&s->mms[i].kept);
	}
	pieces_clear(s);
	free(s->mms);
	free(s->entries);
	free(s->frames.v);
	store_free(&s->store);
	segments_free(&s->segments);
}

int memory_save(struct tree *t, struct image *image, struct watch *watch, bool later,
                const struct contents *contents, unsigned ncontents, struct save **ret,
                struct crcore_error *err)
{
	struct save *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return crcore_no_memory(err);
	*s = (struct save){ .tree = t, .watch = watch,
		            .store = { .image = image, .later = later } };
	if (watch) {
		store_go_on(&s->store, &watch->store);
		s->forked = watch->mixed;
	}
	*ret = s;
	if ((r = open_all(s, err)) < 0 || (r = collect(s, err)) < 0)
		return r;
	if (watch && watch->keep)
		watch_renew(watch, s);
	if ((r = segments_find(t, contents, ncontents, &s->segments, &s->store, err)) < 0)
		return r;
	return store_run(&s->store, err);
}

/* Runs are many where little of a large memory was written to: made when nobody waits. */
static int make_runs(struct save *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->tree->nmms; i++)
		if ((r = gather_kept(s, i, err)) == 0)
			r = runs_sort(&s->mms[i].stored, err);
	for (unsigned i = 0; r == 0 && i < s->tree->nmms; i++)
		r = find_others(s, i, err);
	for (unsigned i = 0; r == 0 && i < s->tree->nmms; i++)
		r = finish_mm(s, i, err);
	return r;
}

int memory_finish(struct save *s, Crcore__Segment ***ret_segments, unsigned *ret_nsegments,
                  struct memory_stats *stats, struct crcore_error *err)
{
	int r;

	if ((r = store_late(&s->store, err)) < 0 || (r = make_runs(s, err)) < 0)
		return r;
	for (unsigned i = 0; i < s->segments.n; i++) {
		if ((r = runs_sort(&s->segments.runs[i], err)) < 0)
			return r;
		store_settle(&s->store, s->segments.runs[i].v, s->segments.runs[i].n);
		s->segments.v[i]->runs = STEAL(s->segments.runs[i].v);
		s->segments.v[i]->n_runs = s->segments.runs[i].n;
	}
	s->stats.stored = s->store.stored;
	s->stats.zero += s->store.zero;
	*stats = s->stats;
	*ret_segments = STEAL(s->segments.v);
	*ret_nsegments = s->segments.n;
	return 0;
}

void memory_free(struct save *s)
{
	if (s)
		close_all(s);
	free(s);
}
