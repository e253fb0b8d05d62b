/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a watch. To close it ends it at once, but keeps the address space locked while the
 * kernel visits every page (50 ms for a gigabyte). So first all protection is lifted, piece by
 * piece. Then, while the tree stands still, all is registered for what needs no visit at
 * the end (faults of pages that are missing, of which there are none as nothing runs), and
 * closed. To end it range by range while the tree runs would cut mappings in two for a
 * while, which mremap(2) does not forgive.
 */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include "core/memory/watch.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"

#define LET_GO_BYTES (16ull << 20) /* at once: whoever maps memory waits that long */
#define LET_GO_TOGETHER 4          /* such pieces are worth a thread */

struct letting_go { const struct watched *watched; struct spans pieces; };

/* What is not watched, or gone by now, is left alone. */
static void lift_range(void *arg, size_t from, size_t to)
{
	const struct letting_go *l = arg;

	for (size_t i = from; i < to; i++) {
		const struct span *s = &l->pieces.v[i];
		struct uffdio_writeprotect off = { .range = { s->start, s->end - s->start } };
		(void)ioctl(l->watched->uffd, UFFDIO_WRITEPROTECT, &off);
	}
}

/* Mapping by mapping: a call ends at the first that is not watched. */
static void let_go(const struct watched *m)
{
	struct letting_go l = { .watched = m };
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_free char *text = NULL;
	struct spans mappings = { 0 };
	struct vma_text v;
	size_t len;
	int r = proc_read(m->mm->task->proc, "maps", &text, &len, &ignored);
	const char *at = text;
	bool ok = r == 0;

	while (ok && vma_parse(&at, text + len, &v) > 0)
		if (watch_is_fit(&v) && spans_overlap(&m->known.watched, v.start, v.end))
			ok = spans_push(&mappings, (struct span){ v.start, v.end, v.start, 0 });
	(void)spans_cut(&mappings, LET_GO_BYTES, &l.pieces); /* what is left out is lifted at the end */
	parallel(l.pieces.n, LET_GO_TOGETHER, lift_range, &l);
	spans_free(&mappings);
	spans_free(&l.pieces);
}

void watch_lift(struct watch *w)
{
	uint64_t start = trace_start();

	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].uffd >= 0)
			let_go(&w->v[i]);
	trace_end(start, TRACE_HERE, "memory", "lift protection");
}

void watch_end(struct watch *w)
{
	for (unsigned i = 0; w && i < w->n; i++) {
		struct watched *m = &w->v[i];
		uint64_t start = trace_start();
		if (m->uffd >= 0)
			close(m->uffd);
		trace_end(m->uffd < 0 ? 0 : start, m->pid, "memory", "end of watch");
		if (m->pagemap.fd >= 0)
			close(m->pagemap.fd);
		spans_free(&m->saved);
		spans_free(&m->covered);
		spans_free(&m->missed);
		known_free(&m->known);
		runs_clear(&m->runs);
		runs_clear(&m->gone);
	}
	if (w) {
		store_free(&w->store);
		free(w->v);
	}
	free(w);
}
