/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums of what nobody checks when it is read: plain pages that tasks read themselves
 * (program_fill.c), shared memory, and what is no memory. Feeders (feed.c) and the pager check each
 * block that they read. What of its ancestors' pages an image does not refer to is not looked at.
 */
#include "core/restore/restore.h"
#include "core/util/parallel.h"

struct wanted {
	struct pages *pages;
	uint64_t *v; size_t n;   /* offsets: one in each block */
	uint64_t end;            /* of the block added last */
};

/* What is outside of the pages is refused when it is read. */
static bool want(struct wanted *w, uint64_t offset, uint64_t len)
{
	const uint64_t length = pages_length(w->pages);
	const uint64_t end = offset > length || len > length - offset ? offset : offset + len;

	for (uint64_t at = offset; at < end;) {
		uint64_t start;
		size_t size;
		const bool packed = pages_block(w->pages, at, &start, &size);
		at = start + size;
		if (packed || at == w->end)
			continue;
		if (!GROW(w->v, w->n))
			return false;
		w->v[w->n++] = start;
		w->end = at;
	}
	return true;
}

/* What is read at one moment. */
static bool want_fills(struct wanted *w, const struct layout_fill *f, unsigned n)
{
	bool ok = true;

	for (unsigned i = 0; i < n && ok && !feed_takes(f, n); i++)
		ok = want(w, f[i].file_offset, f[i].pages * PAGE);
	return ok;
}

static bool want_layout(struct wanted *w, const struct layout *l)
{
	bool ok = want_fills(w, l->fills, l->nfills);
	unsigned at = 0;

	for (unsigned i = 0; i < l->nsteps && ok; at += l->steps[i++].nfills)
		ok = want_fills(w, l->stage_fills + at, l->steps[i].nfills);
	return ok;
}

static bool want_segment(struct wanted *w, const Crcore__Segment *s)
{
	bool ok = true;

	for (size_t i = 0; i < s->n_runs && ok; i++)
		if (s->runs[i]->source == CRCORE__SOURCE__PAGES)
			ok = want(w, s->runs[i]->offset, s->runs[i]->pages * PAGE);
	return ok;
}

static int check(void *arg, size_t from, size_t to, struct crcore_error *err)
{
	const struct wanted *w = arg;
	cleanup_free void *buf = malloc(IMAGE_BLOCK);
	int r = buf ? 0 : crcore_no_memory(err);

	for (size_t i = from; i < to && r == 0; i++)
		r = pages_read_block(w->pages, w->v[i], buf, err);
	return r;
}

static int by_offset(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int restore_verify(struct restore *r, struct crcore_error *err)
{
	struct wanted w = { .pages = r->pages };
	unsigned ignored;
	bool ok = true;
	size_t n = 0;
	int e = 0;

	if (!policy_core(r->cmd->policy, "restore.verify")->b)
		return 0;
	if (r->only_plan) /* nobody will read it */
		return image_verify(r->image, err);
	for (unsigned i = 0; i < r->layouts.n && ok; i++)
		ok = want_layout(&w, &r->layouts.v[i]);
	for (unsigned i = 0; i < r->rec.nsegments && ok; i++)
		ok = lazy_segment(r, r->rec.segments[i], &ignored) || want_segment(&w, r->rec.segments[i]);
	if (ok && w.n) {
		qsort(w.v, w.n, sizeof(*w.v), by_offset);
		for (size_t i = 0; i < w.n; i++)
			if (!n || w.v[n - 1] != w.v[i])
				w.v[n++] = w.v[i];
		e = parallel_try(n, 8, check, &w, err);
	}
	free(w.v);
	if (!ok)
		return crcore_no_memory(err);
	return e < 0 ? e : image_verify_others(r->image, err);
}
