/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared anonymous memory. The coordinator maps it, reads its pages, and opens
 * its own mapping through /proc/self/map_files: that is a descriptor which the
 * tasks can map, and what they then have is as anonymous as it was.
 */
#include <fcntl.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "core/restore/restore.h"
#include "core/util/parallel.h"

static int by_segment_id(const void *a, const void *b)
{
	const struct segment_fd *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* ---- reading pages ---------------------------------------------------------------------- */

#define PART (16ULL << 20) /* bytes that a thread reads before it takes more */

/* The bytes of all runs, counted one after the other. */
struct reading {
	struct restore *r;
	const Crcore__Segment *seg;
	uint8_t *to;
	uint64_t total;
};

/* Where a file system or the huge pages have no more room, to use the memory is a signal, or EFAULT
 * of whoever reads into it; to ask for it beforehand is not. */
static int take_room(uint8_t *at, uint64_t len, struct crcore_error *err)
{
	if (madvise(at, len, MADV_POPULATE_WRITE) == 0 || errno == EINVAL) /* this: an older kernel */
		return 0;
	const int r = errno == EFAULT ? -ENOSPC : -errno;
	crcore_advise(err, "make room: on its file system (mount -o remount,size=...), or for huge "
	              "pages (sysctl vm.nr_hugepages)");
	return crcore_fail(err, r, "there is no room for its pages: %s", strerror(-r));
}

static int read_parts(void *arg, size_t first, size_t end, struct crcore_error *err)
{
	const struct reading *rd = arg;
	const uint64_t from = first * PART, to = end * PART < rd->total ? end * PART : rd->total;
	uint64_t at = 0;
	int r = 0;

	for (size_t i = 0; i < rd->seg->n_runs && r == 0 && at < to; i++) {
		const Crcore__Run *run = rd->seg->runs[i];
		if (run->source != CRCORE__SOURCE__PAGES)
			continue;
		uint64_t len = run->pages * PAGE;
		uint64_t skip = from > at ? from - at : 0, stop = to - at < len ? to - at : len;
		if (skip < stop) {
			uint8_t *here = rd->to + run->addr + skip;
			r = take_room(here, stop - skip, err);
			if (r == 0)
				r = pages_read(rd->r->pages, run->offset + skip, here, stop - skip, err);
		}
		at += len;
	}
	return r;
}

static int read_runs(struct restore *r, const Crcore__Segment *seg, uint8_t *to, uint64_t len,
                     struct crcore_error *err)
{
	struct reading rd = { .r = r, .seg = seg, .to = to };

	for (size_t i = 0; i < seg->n_runs; i++) {
		const Crcore__Run *run = seg->runs[i];
		if (run->addr > len || run->pages > (len - run->addr) / PAGE)
			return crcore_fail(err, -EBADMSG, "segment %u: a run of pages is outside", seg->id);
		rd.total += run->source == CRCORE__SOURCE__PAGES ? run->pages * PAGE : 0;
	}
	return parallel_try(ALIGN_UP(rd.total, PART) / PART, 1, read_parts, &rd, err);
}

/* ---- what plugins keep ------------------------------------------------------------------ */

static int fill(struct restore *r, const Crcore__Segment *seg, int fd, struct crcore_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return crcore_fail(err, -errno, "cannot look at it: %s", strerror(errno));
	uint64_t block = st.st_blksize > (blksize_t)PAGE ? (uint64_t)st.st_blksize : PAGE;
	uint64_t len = ALIGN_UP((uint64_t)st.st_size, block); /* as huge pages want it */
	if (seg->size > len)
		return crcore_fail(err, -EBADMSG, "the contents saved are larger than it");
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return crcore_fail(err, -errno, "cannot map %llu bytes of it: %s", (unsigned long long)len,
		                   strerror(errno));
	int ret = read_runs(r, seg, p, seg->size, err);
	munmap(p, len);
	return ret;
}

int contents_load(struct restore *r, const char *plugin, uint64_t key, int fd,
                  struct crcore_error *err)
{
	for (unsigned i = 0; i < r->rec.nsegments; i++) {
		const Crcore__Segment *seg = r->rec.segments[i];
		if (seg->key == key && !strcmp(seg->plugin, plugin))
			return seg->n_runs ? fill(r, seg, fd, err) : 0;
	}
	return 0;
}

/* ---- shared anonymous memory -------------------------------------------------------------- */

/* Mapped at p: a descriptor of it. */
static int open_mapped(const void *p, uint64_t len, struct crcore_error *err)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
	         (unsigned long)p + (unsigned long)len);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? crcore_fail(err, -errno, "cannot open %s: %s", path, strerror(errno)) : fd;
}

static int make(struct restore *r, const Crcore__Segment *seg, struct crcore_error *err)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t len = ALIGN_UP(seg->size, seg->hugetlb ? 1ULL << seg->huge_shift : PAGE);
	unsigned of_pager;
	const bool waits = lazy_segment(r, seg, &of_pager);

	if (seg->hugetlb)
		flags |= MAP_HUGETLB | (int)(seg->huge_shift << MAP_HUGE_SHIFT);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		return crcore_fail(err, -errno, "cannot map %llu bytes of shared memory: %s",
		                   (unsigned long long)len, strerror(errno));
	int ret = waits ? 0 : read_runs(r, seg, p, len, err);
	cleanup_close int fd = ret < 0 ? ret : open_mapped(p, len, err);
	munmap(p, len);
	if (fd >= 0 && waits && (ret = lazy_segment_give(r, of_pager, fd, err)) < 0)
		return ret;
	return STEAL_FD(fd);
}

int segments_create(struct restore *r, struct crcore_error *err)
{
	r->segments = calloc(r->rec.nsegments ? r->rec.nsegments : 1, sizeof(*r->segments));
	if (!r->segments)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->rec.nsegments; i++)
		r->segments[i] = (struct segment_fd){ r->rec.segments[i]->id, -1 };
	for (unsigned i = 0; i < r->rec.nsegments; i++) {
		if (r->rec.segments[i]->plugin[0])
			continue;
		int fd = make(r, r->rec.segments[i], err);
		if (fd < 0) {
			crcore_fail_at(err, -1, -1, "shared memory %u", r->rec.segments[i]->id);
			return fd;
		}
		r->segments[i].fd = fd;
	}
	qsort(r->segments, r->rec.nsegments, sizeof(*r->segments), by_segment_id);
	return 0;
}

int segment_fd(struct restore *r, uint32_t id)
{
	struct segment_fd key = { .id = id }, *s = NULL;

	if (r->segments && r->rec.nsegments)
		s = bsearch(&key, r->segments, r->rec.nsegments, sizeof(key), by_segment_id);
	return s ? s->fd : -ENOENT;
}
