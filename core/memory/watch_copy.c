/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying ahead, round by round (watch.c): look what was written to since the last
 * round, which makes it clean, and copy it.
 *
 * Only pages that nobody else has are copied ahead. Those shared copy-on-write with
 * others are left for the end, when it is certain who shares them.
 *
 * What a reader could break: whatever a look finds must leave `saved` before it comes
 * in again; the look has already made it clean.
 */
#include "core/memory/pagemap_scan.h"
#include "core/memory/watch.h"
#include "core/util/trace.h"
#include "core/util/worker.h"

enum {
	ROUNDS_MAX = 8,
	FEW_PAGES = 256,         /* what is not worth another round */
	MORE_MAX = 2,            /* times that new memory is put under watch, too ... */
	MUCH_MORE = 8 << 20,     /* ... if it is as much */
	BATCH = 32768,
};

/* Of what was written to queues the pages that nobody else has; asked: all those. */
static int queue_pages(struct watch *w, struct watched *m, const struct span *s,
                       uint64_t *entries, struct spans *asked, struct crcore_error *err)
{
	int r = 0;

	for (uint64_t at = s->start; r == 0 && at < s->end;) {
		uint64_t n = (s->end - at) / PAGE < BATCH ? (s->end - at) / PAGE : BATCH;
		if ((r = pages_entries(&m->pagemap, at, entries, n, err)) < 0)
			return r;
		for (uint64_t i = 0, k; r == 0 && i < n; i = k) {
			const uint64_t both = PM_PRESENT | PM_EXCLUSIVE;
			bool own = (entries[i] & both) == both;
			for (k = i + 1; k < n && ((entries[k] & both) == both) == own; k++)
				;
			if (!own)
				continue;
			uint64_t from = at + i * PAGE;
			r = store_add(&w->store, &m->source, from, k - i, false, false, err);
			if (r == 0 && !spans_append(asked, (struct span){ from, at + k * PAGE, from,
			                                                  SAVED_ZERO }))
				r = memory_enomem(err);
		}
		at += n * PAGE;
	}
	return r;
}

/* Looks at one address space: what was written to is no longer saved, and queued. */
static int look(struct watch *w, struct watched *m, uint64_t *entries, struct spans *asked,
                struct crcore_error *err)
{
	struct spans written = { 0 };
	int r;

	r = known_read(&m->known, m->mm->task, w->flags, err);
	w->grown += r < 0 ? 0 : watch_lacks(m);
	for (size_t i = 0; r == 0 && i < m->known.watched.n; i++)
		r = pages_written(&m->pagemap, m->known.watched.v[i].start,
		                  m->known.watched.v[i].end, &written, err);
	if (r == 0 && !spans_drop(&m->saved, &written))
		r = memory_enomem(err);
	for (size_t i = 0; r == 0 && i < written.n; i++)
		r = queue_pages(w, m, &written.v[i], entries, asked, err);
	spans_free(&written);
	return r;
}

/* saved := saved with over in its place. */
static bool lay_over(struct spans *saved, const struct spans *over)
{
	struct spans out = { 0 };
	bool ok = spans_overlay(saved, over, &out);

	spans_free(saved);
	*saved = out;
	return ok;
}

static bool to_spans(struct runs *l, struct spans *ret)
{
	bool ok = true;

	runs_sort(l);
	for (size_t i = 0; ok && i < l->n; i++)
		ok = spans_append(ret, (struct span){ l->v[i]->addr, l->v[i]->addr + l->v[i]->pages * PAGE,
			                              l->v[i]->offset, SAVED_BYTES });
	return ok;
}

/* What was asked for is saved now: as bytes, or as zero where nothing was stored. */
static int take_over(struct watched *m, const struct spans *asked, struct crcore_error *err)
{
	struct spans bytes = { 0 }, gone = { 0 };
	bool ok = to_spans(&m->runs, &bytes) && to_spans(&m->gone, &gone) &&
	          lay_over(&m->saved, asked) && lay_over(&m->saved, &bytes) &&
	          spans_drop(&m->saved, &gone);

	runs_clear(&m->runs);
	runs_clear(&m->gone);
	spans_free(&bytes);
	spans_free(&gone);
	return ok ? 0 : memory_enomem(err);
}

/* The look of this round was at now. How many pages were written to since, if they are
 * written to as fast as between that look and the one before? */
static void expect_more(struct watch *w, uint64_t now)
{
	uint64_t span = now - w->looked_ns;

	w->expected = w->looked_ns && span ?
	              (uint64_t)((double)w->store.pages * (double)(now_ns() - now) / (double)span) : UINT64_MAX;
	w->looked_ns = now;
}

static int copy_round(struct watch *w, uint64_t *entries, struct spans *asked, struct crcore_error *err)
{
	uint64_t start = trace_start(), now = now_ns();
	int r = 0;

	w->store.njobs = 0;
	w->store.pages = 0;
	w->grown = 0;
	for (unsigned i = 0; r == 0 && i < w->n; i++) {
		if (w->v[i].uffd < 0)
			continue;
		r = look(w, &w->v[i], entries, &asked[i], err);
		if (r < 0 && r != -ENOMEM) {
			watch_give_up(&w->v[i], err);
			r = 0;
		}
	}
	trace_end(start, TRACE_HERE, "memory", "look for %llu written pages",
	          (unsigned long long)w->store.pages);
	if (r == 0)
		r = store_run(&w->store, err);
	for (unsigned i = 0; r == 0 && i < w->n; i++)
		if (w->v[i].uffd >= 0)
			r = take_over(&w->v[i], &asked[i], err);
	w->rounds++;
	expect_more(w, now);
	trace_end(start, TRACE_HERE, "memory", "round %u", w->rounds);
	return r;
}

/* 1: it grew. */
static int copy_rounds(struct watch *w, struct crcore_error *err)
{
	cleanup_free uint64_t *entries = malloc(BATCH * sizeof(*entries));
	cleanup_free struct spans *asked = calloc(w->n + 1, sizeof(*asked));
	uint64_t before = UINT64_MAX;
	int r = entries && asked ? 0 : memory_enomem(err);

	while (r == 0 && w->rounds < ROUNDS_MAX) {
		r = copy_round(w, entries, asked, err);
		for (unsigned i = 0; i < w->n; i++)
			spans_free(&asked[i]);
		log_line(2, "round %u: %llu pages", w->rounds, (unsigned long long)w->store.pages);
		if (r == 0 && w->grown > MUCH_MORE && w->more < MORE_MAX) {
			w->more++;
			return 1;
		}
		/* little is left, or it is written to as fast as we copy */
		if (w->store.pages <= FEW_PAGES || w->expected <= FEW_PAGES ||
		    w->store.pages > before / 2)
			break;
		before = w->store.pages;
		if (r == 0)
			r = worker_check(err);
	}
	return r;
}

int watch_copy(struct watch *w, struct crcore_error *err)
{
	int r = watch_only_ours(w, err);

	if (r == 0 && w->copies)
		r = copy_rounds(w, err);
	for (unsigned i = 0; r == 0 && i < w->n; i++)
		if (!spans_join(&w->v[i].saved, 0, &w->v[i].covered))
			r = memory_enomem(err);
	return r;
}
