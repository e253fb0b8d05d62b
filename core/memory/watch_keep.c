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

/* What nobody watches now is watched too late: writes to it may have been missed. */
int watch_go_on(struct watched *m, struct crcore_error *err)
{
	struct spans fit = { 0 };
	int r = watch_fit_mappings(m->mm->task, &fit, err);

	for (size_t i = 0; r == 0 && i < fit.n; i++)
		if (spans_overlap(&m->saved, fit.v[i].start, fit.v[i].end))
			r = pages_untracked(&m->pagemap, fit.v[i].start, fit.v[i].end, &m->missed, err);
	spans_free(&fit);
	return r;
}

/* A mapping can be registered with one descriptor only: those that were refused, or are none
 * any more, were not ours. */
static bool only_ours(struct watched *m)
{
	struct spans foreign = { 0 };
	bool ok = spans_drop(&m->saved, &m->missed) &&
	          spans_subtract(&m->saved, &m->known.watched, &foreign) &&
	          spans_drop(&m->saved, &foreign);

	spans_free(&foreign);
	spans_free(&m->missed);
	return ok;
}

int watch_only_ours(struct watch *w, struct crcore_error *err)
{
	bool ok = true;

	for (unsigned i = 0; ok && w->unsure && i < w->n; i++)
		ok = only_ours(&w->v[i]);
	w->unsure = false;
	return ok ? 0 : crcore_no_memory(err);
}

#define NEAR (1u << 20) /* to look at the pages in between takes less than to ask once more */

/* What is clean is protected already. */
static int renew_one(struct watched *m, const struct spans *changed, struct crcore_error *err)
{
	struct spans joined = { 0 }, ours = { 0 }, ignored = { 0 };
	int r = watch_mappings(m, err); /* what came since the last time */
	bool ok = spans_join(changed, NEAR, &joined);

	for (size_t i = 0; ok && r == 0 && i < m->known.watched.n; i++)
		ok = spans_clip(&joined, m->known.watched.v[i].start, m->known.watched.v[i].end, &ours);
	for (size_t i = 0; ok && r == 0 && i < ours.n; i++) {
		r = pages_written(&m->pagemap, ours.v[i].start, ours.v[i].end, &ignored, err);
		ignored.n = 0;
	}
	spans_free(&joined);
	spans_free(&ours);
	spans_free(&ignored);
	return ok ? r : crcore_no_memory(err);
}

void watch_renew(struct watch *w, const struct save *s)
{
	uint64_t start = trace_start();

	for (unsigned i = 0; i < s->tree->nmms; i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct watched *m = watch_find(w, s->mms[i].pagemap.pid);
		if (!m || renew_one(m, &s->mms[i].changed, &err) == 0)
			continue;
		log_line(1, "pid %d: its writes are not tracked: %s", m->pid, err.message);
		close(STEAL_FD(m->uffd));
	}
	trace_end(start, TRACE_HERE, "memory", "renew the watch");
}

int watch_keep(struct watch *w, Crcore__Tracking *rec, struct tracker **ret,
               struct crcore_error *err)
{
	cleanup_free struct tracked *v = calloc(w->n + 1, sizeof(*v));
	unsigned n = 0;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].uffd >= 0)
			v[n++] = (struct tracked){ w->v[i].pid, w->v[i].start_time, w->v[i].uffd,
				                   w->v[i].mm->task->pidfd };
	return tracker_begin(v, n, rec, ret, err);
}
