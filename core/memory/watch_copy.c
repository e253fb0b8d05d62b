/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying ahead, round by round (watch.c): look what was written to since the last
 * round, which makes it clean, and copy it.
 *
 * Only pages that nobody else has are copied ahead (store_read.c). Those shared copy-on-write
 * with others are left for the end, when it is certain who shares them.
 *
 * What a reader could break: whatever a look finds must leave `saved` before it comes
 * in again; the look has already made it clean.
 */
#include "core/memory/pagemap_scan.h"
#include "core/memory/watch.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"
#include "core/util/worker.h"

#define LOOK_BYTES (64ull << 20)        /* that a thread looks at before it takes more */
#define BYTES_PER_THREAD (256ull << 20) /* ... and in the time that it takes to start one */

enum {
	ROUNDS_MAX = 8,
	FEW_PAGES = 256,         /* what is not worth another round */
	MORE_MAX = 2,            /* times that new memory is put under watch, too ... */
	MUCH_MORE = 8 << 20,     /* ... if it is as much */
};

/* ---- rounds ------------------------------------------------------------------------------ */

/* Where it is looked for what was written to, by several threads; found: parallel to where. */
struct looking {
	struct pagemap *map;
	struct spans where, *found;
};

static int look_at(void *arg, size_t from, size_t to, struct crcore_error *err)
{
	const struct looking *l = arg;
	int r = 0;

	for (size_t i = from; r == 0 && i < to; i++)
		r = pages_written(l->map, l->where.v[i].start, l->where.v[i].end, &l->found[i], err);
	return r;
}

static int look_everywhere(struct pagemap *map, const struct spans *watched, struct spans *written,
                           struct crcore_error *err)
{
	struct looking l = { .map = map };
	int r = spans_cut(watched, LOOK_BYTES, &l.where) &&
	        (l.found = calloc(l.where.n + 1, sizeof(*l.found))) ? 0 : crcore_no_memory(err);

	if (r == 0)
		r = parallel_try(l.where.n, parallel_chunk(l.where.n, spans_bytes(watched) /
		                                                      BYTES_PER_THREAD), look_at, &l, err);
	for (size_t i = 0; r == 0 && i < l.where.n; i++)
		for (size_t k = 0; r == 0 && k < l.found[i].n; k++)
			if (!spans_append(written, l.found[i].v[k]))
				r = crcore_no_memory(err);
	for (size_t i = 0; l.found && i < l.where.n; i++)
		spans_free(&l.found[i]);
	free(l.found);
	spans_free(&l.where);
	return r;
}

/* Looks at one address space: what was written to (asked) is no longer saved, and queued. */
static int look(struct watch *w, struct watched *m, struct spans *asked, struct crcore_error *err)
{
	int r = known_read(&m->known, m->mm->task, w->flags, err);

	w->grown += r < 0 ? 0 : watch_lacks(m);
	if (r == 0)
		r = look_everywhere(&m->pagemap, &m->known.watched, asked, err);
	if (r == 0 && !spans_drop(&m->saved, asked))
		r = crcore_no_memory(err);
	for (size_t i = 0; r == 0 && i < asked->n; i++) {
		struct span *s = &asked->v[i];
		r = store_add(&w->store, &m->source, s->start, (s->end - s->start) / PAGE, false, false,
		              err);
		s->tag = SAVED_ZERO; /* if nothing is stored of it */
	}
	return r;
}

static int to_spans(struct runs *l, struct spans *ret, struct crcore_error *err)
{
	int r = runs_sort(l, err);

	for (size_t i = 0; r == 0 && i < l->n; i++)
		if (!spans_append(ret, (struct span){ l->v[i]->addr, l->v[i]->addr + l->v[i]->pages * PAGE,
			                              l->v[i]->offset, SAVED_BYTES }))
			r = crcore_no_memory(err);
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

/* What was asked for is saved now: as bytes, or as zero where nothing was stored. */
static int take_over(struct watched *m, struct spans *asked, struct crcore_error *err)
{
	struct spans bytes = { 0 }, gone = { 0 };
	int r = to_spans(&m->runs, &bytes, err);

	r = r < 0 ? r : to_spans(&m->gone, &gone, err);
	if (r == 0 && (!lay_over(asked, &bytes) || !spans_drop(asked, &gone) ||
	               !lay_over(&m->saved, asked)))
		r = crcore_no_memory(err);
	runs_clear(&m->runs);
	runs_clear(&m->gone);
	spans_free(&bytes);
	spans_free(&gone);
	return r;
}

/* The look of this round was at now. How many pages were written to since, if they are
 * written to as fast as between that look and the one before? */
static void expect_more(struct watch *w, uint64_t now)
{
	uint64_t span = now - w->looked_ns;

	w->expected = UINT64_MAX;
	if (w->looked_ns && span)
		w->expected = (uint64_t)((double)w->copied * (double)(now_ns() - now) / (double)span);
	w->looked_ns = now;
}

static int copy_round(struct watch *w, struct spans *asked, struct crcore_error *err)
{
	uint64_t start = trace_start(), now = now_ns(), had = w->store.stored + w->store.zero;
	int r = 0;

	w->store.njobs = 0;
	w->store.pages = 0;
	w->grown = 0;
	for (unsigned i = 0; r == 0 && i < w->n; i++) {
		if (w->v[i].uffd < 0)
			continue;
		r = look(w, &w->v[i], &asked[i], err);
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
	w->copied = w->store.stored + w->store.zero - had;
	w->rounds++;
	expect_more(w, now);
	trace_end(start, TRACE_HERE, "memory", "round %u", w->rounds);
	return r;
}

/* 1: it grew. */
static int copy_rounds(struct watch *w, struct crcore_error *err)
{
	cleanup_free struct spans *asked = calloc(w->n + 1, sizeof(*asked));
	uint64_t before = UINT64_MAX;
	int r = asked ? 0 : crcore_no_memory(err);

	while (r == 0 && w->rounds < ROUNDS_MAX) {
		r = copy_round(w, asked, err);
		for (unsigned i = 0; i < w->n; i++)
			spans_free(&asked[i]);
		log_line(2, "round %u: %llu pages", w->rounds, (unsigned long long)w->copied);
		if (r == 0 && w->grown > MUCH_MORE && w->more < MORE_MAX) {
			w->more++;
			return 1;
		}
		/* little is left, or it is written to as fast as we copy */
		if (w->copied <= FEW_PAGES || w->expected <= FEW_PAGES ||
		    w->copied > before / 2)
			break;
		before = w->copied;
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
			r = crcore_no_memory(err);
	return r;
}
