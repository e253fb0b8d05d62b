/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the pages of a task that have contents of their own: with the
 * PAGEMAP_SCAN ioctl, which steps over the empty parts of huge reservations,
 * or by reading /proc/PID/pagemap where the kernel lacks that.
 *
 * Neither tells a page of a private file mapping from the file's own page but
 * by PAGE_IS_FILE (bit 61): it is clear once the task has a copy.
 */
#include "core/memory/pagemap_scan.h"
#include "core/memory/save_priv.h"

enum { REGIONS = 2048, ENTRIES = 65536, LOOK_BYTES = 64 << 20 };

int page_list_add(struct page_list *l, uint64_t start, uint64_t end, enum page_sort sort,
                  struct crcore_error *err)
{
	struct page_range *last = l->n ? &l->v[l->n - 1] : NULL;

	if (last && last->end == start && last->sort == sort) {
		last->end = end;
		return 0;
	}
	if (!GROW(l->v, l->n))
		return crcore_no_memory(err);
	l->v[l->n++] = (struct page_range){ start, end, sort };
	return 0;
}

static int fail_read(const struct pagemap *p, int e, struct crcore_error *err)
{
	crcore_fail_at(err, p->pid, -1, "page map");
	return crcore_fail(err, -e, "cannot read /proc/PID/pagemap: %s", strerror(e));
}

/* ---- PAGEMAP_SCAN ----------------------------------------------------------------- */

static int add_regions(const struct page_region *v, int n, struct page_list *l,
                       struct crcore_error *err)
{
	int r = 0;

	for (int i = 0; i < n && r == 0; i++) {
		enum page_sort sort = v[i].categories & PAGE_IS_GUARD ? PAGES_GUARD :
		                      v[i].categories & PAGE_IS_PFNZERO ? PAGES_ZERO : PAGES_DATA;
		r = page_list_add(l, v[i].start, v[i].end, sort, err);
	}
	return r;
}

/* The next regions of what arg asks for, of guard pages only if this kernel knows any. How many;
 * -1: errno. */
static int scan_some(struct pagemap *p, struct pm_scan_arg *arg, uint64_t start)
{
	arg->start = start;
	if (p->no_guard)
		arg->return_mask &= ~(uint64_t)PAGE_IS_GUARD;
	int n = ioctl(p->fd, PAGEMAP_SCAN, arg);
	if (n >= 0 || errno != EINVAL || p->no_guard)
		return n;
	p->no_guard = true;
	return scan_some(p, arg, start);
}

/* Where the next call begins: walk_end may lie before the end of what a last, partly filled answer
 * tells. */
static uint64_t scan_next(const struct pm_scan_arg *arg, const struct page_region *v, int n)
{
	return n < REGIONS ? arg->end : v[n - 1].end;
}

/* -ENOTTY: not this way. */
static int scan(struct pagemap *p, uint64_t start, uint64_t end, bool anon, struct page_list *l,
                struct crcore_error *err)
{
	/* to tell whether a page is a file's the kernel has to look at its descriptor */
	const uint64_t file = anon ? 0 : PAGE_IS_FILE;
	cleanup_free struct page_region *v = malloc(REGIONS * sizeof(*v));

	if (!v)
		return crcore_no_memory(err);
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .end = end, .vec = (uintptr_t)v, .vec_len = REGIONS,
		.category_inverted = file, .category_mask = file,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PFNZERO | PAGE_IS_GUARD,
	};
	while (start < end) {
		int n = scan_some(p, &arg, start);
		if (n < 0)
			return errno == ENOTTY || errno == EINVAL ? -ENOTTY : fail_read(p, errno, err);
		int r = add_regions(v, n, l, err);
		if (r < 0)
			return r;
		start = scan_next(&arg, v, n);
	}
	return 0;
}

/* ---- what was written to ------------------------------------------------------------ */

static int fail_scan(const struct pagemap *p, int e, struct crcore_error *err)
{
	crcore_fail_at(err, p->pid, -1, "page map");
	return crcore_fail(err, -e, "cannot tell what was written to (PAGEMAP_SCAN): %s",
	                   strerror(e));
}

static int add_unclean(const struct page_region *v, int n, struct page_list *pages,
                       struct spans *other, struct crcore_error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++) {
		if (!spans_append(other, (struct span){ v[i].start, v[i].end, v[i].start, 0 }))
			return crcore_no_memory(err);
		if (v[i].categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
			r = add_regions(v + i, 1, pages, err);
	}
	return r;
}

int pages_unclean(struct pagemap *p, uint64_t start, uint64_t end, struct page_list *pages,
                  struct spans *other, struct crcore_error *err)
{
	cleanup_free struct page_region *v = malloc(REGIONS * sizeof(*v));
	int r = v ? 0 : crcore_no_memory(err);

	struct pm_scan_arg arg = {
		.size = sizeof(arg), .end = end, .vec = (uintptr_t)v, .vec_len = REGIONS,
		.category_inverted = PAGE_IS_PRESENT | PAGE_IS_WPALLOWED,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_GUARD,
	};
	while (r == 0 && start < end) {
		int n = scan_some(p, &arg, start);
		if (n < 0)
			return fail_scan(p, errno, err);
		r = add_unclean(v, n, pages, other, err);
		start = scan_next(&arg, v, n);
	}
	return r;
}

/* Appends what one call tells; arg->start: where the next has to begin. */
static int scan_step(const struct pagemap *p, struct pm_scan_arg *arg, const struct page_region *v,
                     struct spans *ret, struct crcore_error *err)
{
	int n = ioctl(p->fd, PAGEMAP_SCAN, arg);

	if (n < 0)
		return fail_scan(p, errno, err);
	for (int i = 0; i < n; i++)
		if (!spans_append(ret, (struct span){ v[i].start, v[i].end, v[i].start, 0 }))
			return crcore_no_memory(err);
	arg->start = scan_next(arg, v, n);
	return 0;
}

int pages_written(struct pagemap *p, uint64_t start, uint64_t end, struct spans *ret,
                  struct crcore_error *err)
{
	cleanup_free struct page_region *v = malloc(REGIONS * sizeof(*v));

	while (v && start < end) {
		/* In pieces: the task cannot map anything while the kernel looks. Not in the
		 * middle of a huge page, which would be split. */
		uint64_t until = ALIGN_UP(start + 1, (uint64_t)LOOK_BYTES);
		if (until > end)
			until = end;
		struct pm_scan_arg arg = {
			.size = sizeof(arg), .flags = PM_SCAN_WP_MATCHING, .start = start,
			.end = until, .vec = (uintptr_t)v, .vec_len = REGIONS,
			.category_inverted = PAGE_IS_PFNZERO,
			.category_mask = PAGE_IS_PFNZERO | PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN,
			.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		};
		int r = scan_step(p, &arg, v, ret, err);
		if (r < 0)
			return r;
		start = arg.start;
	}
	return v ? 0 : crcore_no_memory(err);
}

/* Mappings that are watched are passed over whole. */
static int scan_unwatched(struct pagemap *p, uint64_t start, uint64_t end, uint64_t not_written,
                          uint64_t any_of, struct spans *ret, struct crcore_error *err)
{
	cleanup_free struct page_region *v = malloc(REGIONS * sizeof(*v));
	const uint64_t neither = PAGE_IS_WPALLOWED | not_written;

	while (v && start < end) {
		struct pm_scan_arg arg = {
			.size = sizeof(arg), .start = start, .end = end, .vec = (uintptr_t)v,
			.vec_len = REGIONS, .category_inverted = neither, .category_mask = neither,
			.category_anyof_mask = any_of,
		};
		int r = scan_step(p, &arg, v, ret, err);
		if (r < 0)
			return r;
		start = arg.start;
	}
	return v ? 0 : crcore_no_memory(err);
}

int pages_marked(struct pagemap *p, uint64_t start, uint64_t end, struct spans *ret,
                 struct crcore_error *err)
{
	return scan_unwatched(p, start, end, PAGE_IS_WRITTEN, PAGE_IS_PRESENT | PAGE_IS_SWAPPED, ret,
	                      err);
}

int pages_untracked(struct pagemap *p, uint64_t start, uint64_t end, struct spans *ret,
                    struct crcore_error *err)
{
	return scan_unwatched(p, start, end, 0, 0, ret, err);
}

bool pages_tracked(const struct pagemap *p, uint64_t start, uint64_t end)
{
	struct page_region v;
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = start, .end = end, .vec = (uintptr_t)&v, .vec_len = 1,
		.category_mask = PAGE_IS_WPALLOWED, .return_mask = PAGE_IS_WPALLOWED, .max_pages = 1,
	};

	return ioctl(p->fd, PAGEMAP_SCAN, &arg) == 1;
}

/* ---- /proc/PID/pagemap -------------------------------------------------------------- */

int pages_entries(const struct pagemap *p, uint64_t addr, uint64_t *ret, size_t n,
                  struct crcore_error *err)
{
	size_t want = n * sizeof(*ret), got = 0;

	while (got < want) {
		ssize_t r = pread(p->fd, (char *)ret + got, want - got,
		                  (off_t)(addr / PAGE * sizeof(*ret) + got));
		if (r <= 0)
			return fail_read(p, r < 0 ? errno : EIO, err);
		got += (size_t)r;
	}
	return 0;
}

static int walk(struct pagemap *p, uint64_t start, uint64_t end, struct page_list *l,
                struct crcore_error *err)
{
	cleanup_free uint64_t *v = malloc(ENTRIES * sizeof(*v));
	int r = v ? 0 : crcore_no_memory(err);

	for (uint64_t at = start; r == 0 && at < end;) {
		size_t n = (end - at) / PAGE < ENTRIES ? (end - at) / PAGE : ENTRIES;
		r = pages_entries(p, at, v, n, err);
		for (size_t i = 0; r == 0 && i < n; i++, at += PAGE)
			if ((v[i] & (PM_PRESENT | PM_SWAPPED)) && !(v[i] & PM_FILE))
				r = page_list_add(l, at, at + PAGE,
				                  v[i] & PM_GUARD ? PAGES_GUARD : PAGES_DATA, err);
	}
	return r;
}

int pages_find(struct pagemap *p, uint64_t start, uint64_t end, bool anon, struct page_list *l,
               struct crcore_error *err)
{
	if (!p->no_scan) {
		size_t before = l->n;
		int r = scan(p, start, end, anon, l, err);
		if (r != -ENOTTY)
			return r;
		p->no_scan = true;
		l->n = before;
	}
	return walk(p, start, end, l, err);
}
