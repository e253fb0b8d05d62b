/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch from one dump to the next (tracker.h). It goes on as if the image before were
 * what a first round had copied: `saved` is what that has.
 *
 * A page is as in the image before if it is there, is protected, lies in a mapping that is
 * registered with the descriptor which was kept, and the image says where it is. That is so
 * of none that was written to, mapped, moved or thrown away since, nor of one of a program
 * called since (its memory is another), or of a child. Whatever is not certain is saved.
 *
 * What a reader could break: protection is renewed when the pages to be saved have been
 * found and before the tree runs, and the old watch is nobody's from the moment that it is
 * taken over: an image that fails after that has no successor.
 */
#include "core/memory/pagemap_scan.h"
#include "core/memory/tracker.h"
#include "core/memory/watch.h"
#include "core/util/trace.h"

int watch_go_on(struct watched *m, struct crcore_error *err)
{
	struct spans fit = { 0 }, other = { 0 }, rest = { 0 };
	struct page_list pages = { 0 };
	int r = watch_fit_mappings(m->mm->task, &fit, err);

	for (size_t i = 0; r == 0 && i < fit.n; i++) {
		pages.n = 0;
		r = pages_unclean(&m->pagemap, fit.v[i].start, fit.v[i].end, &pages, &other, err);
	}
	if (r == 0 && (!spans_subtract(&m->saved, &fit, &rest) || !spans_drop(&m->saved, &other) ||
	               !spans_drop(&m->saved, &rest)))
		r = memory_enomem(err);
	free(pages.v);
	spans_free(&fit);
	spans_free(&other);
	spans_free(&rest);
	return r;
}

/* A mapping can be registered with one descriptor only: those that were refused, or are none
 * any more, were not ours. */
int watch_only_ours(struct watch *w, struct crcore_error *err)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < w->n; i++) {
		struct watched *m = &w->v[i];
		struct spans foreign = { 0 };
		ok = spans_subtract(&m->saved, &m->known.watched, &foreign) &&
		     spans_drop(&m->saved, &foreign);
		spans_free(&foreign);
	}
	return ok ? 0 : memory_enomem(err);
}

static int renew_one(struct watched *m, struct crcore_error *err)
{
	struct spans ignored = { 0 };
	int r = watch_mappings(m, err); /* what came since the last time */

	for (size_t i = 0; r == 0 && i < m->known.watched.n; i++) {
		r = pages_written(&m->pagemap, m->known.watched.v[i].start,
		                  m->known.watched.v[i].end, &ignored, err);
		ignored.n = 0;
	}
	spans_free(&ignored);
	return r;
}

void watch_renew(struct watch *w)
{
	uint64_t start = trace_start();

	for (unsigned i = 0; i < w->n; i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		if (w->v[i].uffd < 0 || renew_one(&w->v[i], &err) == 0)
			continue;
		log_line(1, "pid %d: its writes are not tracked: %s", w->v[i].pid, err.message);
		close(STEAL_FD(w->v[i].uffd));
	}
	trace_end(start, TRACE_HERE, "memory", "renew the watch");
}

int watch_keep(struct watch *w, Crcore__Tracking *rec, struct tracker **ret, struct crcore_error *err)
{
	cleanup_free struct tracked *v = calloc(w->n + 1, sizeof(*v));
	unsigned n = 0;

	if (!v)
		return memory_enomem(err);
	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].uffd >= 0)
			v[n++] = (struct tracked){ w->v[i].pid, w->v[i].start_time, w->v[i].uffd,
				                   w->v[i].mm->task->pidfd };
	return tracker_begin(v, n, rec, ret, err);
}
