/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared anonymous memory. The coordinator maps it, reads its pages, and opens
 * its own mapping through /proc/self/map_files: that is a descriptor which the
 * tasks can map, and what they then have is as anonymous as it was.
 */
#include <fcntl.h>
#include <linux/mman.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "core/restore/restore.h"

static int by_segment_id(const void *a, const void *b)
{
	const struct segment_fd *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* ---- reading pages ---------------------------------------------------------------------- */

#define PART_MIN (64ULL << 20) /* bytes that are worth a thread */
#define PARTS_MAX 8

/* One thread's share of the bytes of all runs, counted one after the other. */
struct part {
	struct restore *r;
	const Crcore__Segment *seg;
	uint8_t *to;
	uint64_t from, end;
	int ret;
	struct crcore_error err;
	pthread_t thread;
};

static void *read_part(void *arg)
{
	struct part *p = arg;
	uint64_t at = 0;

	for (size_t i = 0; i < p->seg->n_runs && p->ret == 0 && at < p->end; i++) {
		const Crcore__Run *run = p->seg->runs[i];
		if (run->source != CRCORE__SOURCE__PAGES)
			continue;
		uint64_t len = run->pages * PAGE;
		uint64_t skip = p->from > at ? p->from - at : 0, stop = p->end - at < len ? p->end - at : len;
		if (skip < stop)
			p->ret = pages_read(p->r->pages, run->offset + skip,
			                    p->to + run->addr + skip, stop - skip, &p->err);
		at += len;
	}
	return NULL;
}

static unsigned count_parts(uint64_t total)
{
	cpu_set_t set;
	uint64_t n = total / PART_MIN, cpus = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (uint64_t)CPU_COUNT(&set);
	n = n < cpus ? n : cpus;
	return n > PARTS_MAX ? PARTS_MAX : n ? (unsigned)n : 1;
}

static int read_runs(struct restore *r, const Crcore__Segment *seg, uint8_t *to, uint64_t len,
                     struct crcore_error *err)
{
	struct part v[PARTS_MAX];
	uint64_t total = 0;
	unsigned started = 1;

	for (size_t i = 0; i < seg->n_runs; i++) {
		const Crcore__Run *run = seg->runs[i];
		if (run->addr > len || run->pages > (len - run->addr) / PAGE)
			return crcore_fail(err, -EBADMSG, "segment %u: a run of pages is outside", seg->id);
		total += run->source == CRCORE__SOURCE__PAGES ? run->pages * PAGE : 0;
	}
	const unsigned n = count_parts(total);
	const uint64_t size = ALIGN_UP(total / n, PAGE);
	for (unsigned i = 0; i < n; i++)
		v[i] = (struct part){ r, seg, to, i * size, i + 1 == n ? total : (i + 1) * size, 0,
			              CRCORE_ERROR_INIT, 0 };
	while (started < n && !pthread_create(&v[started].thread, NULL, read_part, &v[started]))
		started++;
	read_part(&v[0]);
	for (unsigned i = started; i < n; i++) /* no thread for it */
		read_part(&v[i]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(v[i].thread, NULL);
	for (unsigned i = 0; i < n; i++)
		if (v[i].ret < 0) {
			if (err && !err->code)
				*err = v[i].err;
			return v[i].ret;
		}
	return 0;
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
		if (r->rec.segments[i]->plugin[0])
			continue;
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
