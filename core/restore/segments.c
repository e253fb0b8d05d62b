/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared anonymous memory. The coordinator maps it, reads its pages, and opens
 * its own mapping through /proc/self/map_files: that is a descriptor which the
 * tasks can map, and what they then have is as anonymous as it was.
 */
#include <fcntl.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include "core/restore/restore.h"

static int by_segment_id(const void *a, const void *b)
{
	const struct segment_fd *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int read_runs(struct restore *r, const Crcore__Segment *seg, uint8_t *p, uint64_t len,
                     struct crcore_error *err)
{
	for (size_t i = 0; i < seg->n_runs; i++) {
		const Crcore__Run *run = seg->runs[i];
		if (run->source != CRCORE__SOURCE__PAGES)
			continue;
		if (run->addr > len || run->pages > (len - run->addr) / PAGE)
			return crcore_fail(err, -EBADMSG, "segment %u: a run of pages is outside", seg->id);
		uint64_t left = run->pages * PAGE, at = run->addr, offset = run->offset;
		while (left) {
			size_t part = left < (1u << 30) ? left : 1u << 30;
			ssize_t n = pread(r->pages_fd, p + at, part, (off_t)offset);
			if (n <= 0)
				return crcore_fail(err, n ? -errno : -EBADMSG, "segment %u: cannot read its pages: %s",
				                   seg->id, n ? strerror(errno) : "the page file ends");
			left -= (uint64_t)n;
			at += (uint64_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}

static int make(struct restore *r, const Crcore__Segment *seg, struct crcore_error *err)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t len = ALIGN_UP(seg->size, seg->hugetlb ? 1ULL << seg->huge_shift : PAGE);
	char path[80];

	if (seg->hugetlb)
		flags |= MAP_HUGETLB | (int)(seg->huge_shift << MAP_HUGE_SHIFT);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		return crcore_fail(err, -errno, "cannot map %llu bytes of shared memory: %s",
		                   (unsigned long long)len, strerror(errno));
	int ret = read_runs(r, seg, p, len, err);
	if (ret == 0) {
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		         (unsigned long)p + (unsigned long)len);
		ret = open(path, O_RDWR | O_CLOEXEC);
		if (ret < 0)
			ret = crcore_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
	}
	munmap(p, len);
	return ret;
}

int segments_create(struct restore *r, struct crcore_error *err)
{
	r->segments = calloc(r->rec.nsegments ? r->rec.nsegments : 1, sizeof(*r->segments));
	if (!r->segments)
		return births_no_memory(err);
	for (unsigned i = 0; i < r->rec.nsegments; i++)
		r->segments[i] = (struct segment_fd){ r->rec.segments[i]->id, -1 };
	for (unsigned i = 0; i < r->rec.nsegments; i++) {
		int fd = make(r, r->rec.segments[i], err);
		if (fd < 0)
			return fd;
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
