/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel ends the watch of a mapping when another that is not watched (it was moved) becomes
 * one with it, but leaves the marks on its pages, and writes do not take them away any more. In
 * a mapping that is put under watch again such a page would seem to be as it was, for ever. So
 * the marks are lifted.
 *
 * To look for them takes 1 ms for a gigabyte, for which the tree need not stand still: where no
 * memory of a process is watched none can come. (Two dumps of a tree at a time are not allowed.)
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include "core/memory/watch.h"
#include "core/util/trace.h"

#define LOOK_BYTES (64ull << 20) /* at once, since nothing can be mapped meanwhile */

int watch_fit_mappings(const struct task *t, struct spans *ret, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	struct vma_text v;
	size_t len;
	int r = proc_read(t->proc, "maps", &text, &len, err);
	const char *at = text;

	while (r == 0 && vma_parse(&at, text + len, &v) > 0)
		if (watch_is_fit(&v) && !spans_append(ret, (struct span){ v.start, v.end, v.start, 0 }))
			r = crcore_no_memory(err);
	return r;
}

int watch_lift_marks(const struct watched *m, const struct spans *marked, const struct spans *now,
                     struct crcore_error *err)
{
	struct spans ours = { 0 };
	bool ok = true;
	int r = 0;

	for (size_t i = 0; ok && i < now->n; i++)
		ok = spans_clip(marked, now->v[i].start, now->v[i].end, &ours);
	for (size_t i = 0; ok && r == 0 && i < ours.n; i++) {
		struct uffdio_writeprotect off = {
			.range = { ours.v[i].start, ours.v[i].end - ours.v[i].start },
		};
		if (ioctl(m->uffd, UFFDIO_WRITEPROTECT, &off) < 0)
			r = crcore_fail(err, -errno, "marks of an earlier watch stay: %s", strerror(errno));
	}
	spans_free(&ours);
	return ok ? r : crcore_no_memory(err);
}

/* ---- before the tree is stopped ------------------------------------------------------------ */

static bool has_marks(struct pagemap *p, const struct spans *fit)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct spans found = { 0 };
	bool none = true;

	for (size_t i = 0; none && i < fit->n; i++)
		for (uint64_t at = fit->v[i].start, end = fit->v[i].end; none && at < end; at += LOOK_BYTES)
			none = pages_marked(p, at, end - at < LOOK_BYTES ? end : at + LOOK_BYTES, &found,
			                    &ignored) == 0 && !found.n;
	spans_free(&found);
	return !none;
}

static bool is_unmarked(const struct task *t)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_close int fd = openat(t->proc, "pagemap", O_RDONLY | O_CLOEXEC);
	struct pagemap p = { .fd = fd, .pid = t->abi.pid };
	struct spans fit = { 0 };
	bool ok = fd >= 0 && watch_fit_mappings(t, &fit, &ignored) == 0;

	ok = ok && (!fit.n || !pages_tracked(&p, fit.v[0].start, fit.v[fit.n - 1].end)) &&
	     !has_marks(&p, &fit);
	spans_free(&fit);
	return ok;
}

void watch_look_for_marks(const struct tree *tree, struct unmarked *ret)
{
	uint64_t start = trace_start();

	for (unsigned i = 0; i < tree->nmms; i++) {
		const struct task *t = tree->mms[i]->task;
		struct crcore_error ignored = CRCORE_ERROR_INIT;
		struct proc_stat st;
		if (proc_stat(t->proc, &st, &ignored) < 0 || !is_unmarked(t) || !GROW(ret->v, ret->n))
			continue;
		ret->v[ret->n].pid = t->abi.pid;
		ret->v[ret->n++].start_time = st.start_time;
	}
	trace_end(start, TRACE_HERE, "memory", "look for marks");
}

bool watch_is_unmarked(const struct unmarked *u, pid_t pid, uint64_t start_time)
{
	for (unsigned i = 0; u && i < u->n; i++)
		if (u->v[i].pid == pid)
			return u->v[i].start_time == start_time;
	return false;
}
