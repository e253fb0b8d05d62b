/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memory holds, page by page, of live processes or in an image, in the same form, so
 * that a test can compare: a line "PID ADDRESS HASH" for each page that is not all zero and
 * is not as a file gives it.
 *
 *	pages-of live PID...
 *	pages-of image FOLDER
 *
 * And how many bytes of the pages of an image and its ancestors anybody refers to:
 *
 *	pages-of used FOLDER
 */
#include <fcntl.h>
#include <xxhash.h>
#include "core/image/core_records.h"
#include "core/image/pages.h"
#include "core/memory/memory.h"
#include "core/util/util.h"

#define PRESENT_OR_SWAPPED (3ull << 62)
#define OF_A_FILE (1ull << 61)

static void tell(pid_t pid, uint64_t addr, const void *page)
{
	static const char zero[PAGE];

	if (memcmp(page, zero, PAGE))
		printf("%d %llx %016llx\n", pid, (unsigned long long)addr,
		       (unsigned long long)XXH3_64bits(page, PAGE));
}

/* ---- live ---- */

static int open_of(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void live_mapping(pid_t pid, int mem, int map, uint64_t start, uint64_t end, bool shared)
{
	char page[PAGE];
	uint64_t entry;

	for (uint64_t at = start; at < end; at += PAGE) {
		if (pread(map, &entry, sizeof(entry), (off_t)(at / PAGE * 8)) != sizeof(entry))
			exit(1);
		if (!shared && (!(entry & PRESENT_OR_SWAPPED) || (entry & OF_A_FILE)))
			continue;
		if (pread(mem, page, PAGE, (off_t)at) == PAGE)
			tell(pid, at, page);
	}
}

static void live(pid_t pid)
{
	cleanup_close int mem = open_of(pid, "mem"), map = open_of(pid, "pagemap");
	FILE *f = fdopen(open_of(pid, "maps"), "r");
	unsigned long start, end;
	char line[8192], sharing;
	int path;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*3c%c %*x %*s %*u %n", &start, &end, &sharing, &path) != 3)
			exit(1);
		if (strncmp(line + path, "[v", 2) &&
		    (sharing == 'p' || !strncmp(line + path, "/dev/zero", 9)))
			live_mapping(pid, mem, map, start, end, sharing == 's');
	}
	if (f)
		fclose(f);
}

/* ---- an image ---- */

static struct pages *pages;
static struct core_records rec;

static void run_pages(pid_t pid, const Crcore__Run *r, uint64_t addr, uint64_t skip, uint64_t end)
{
	char page[PAGE];

	for (uint64_t at = skip; at < r->pages * PAGE && addr + (at - skip) < end; at += PAGE) {
		if (pages_read(pages, r->offset + at, page, PAGE, NULL) < 0)
			exit(1);
		tell(pid, addr + (at - skip), page);
	}
}

/* The pages of an address space that are stored at [from, to): those of this one at addr. */
static void mm_pages(pid_t pid, const Crcore__Mm *mm, uint64_t from, uint64_t to, uint64_t addr)
{
	for (size_t i = 0; i < mm->n_runs; i++) {
		const Crcore__Run *r = mm->runs[i];
		uint64_t end = r->addr + r->pages * PAGE;
		uint64_t a = r->addr > from ? r->addr : from, b = end < to ? end : to;
		if (a >= b)
			continue;
		if (r->source == CRCORE__SOURCE__PAGES)
			run_pages(pid, r, addr + (a - from), a - r->addr, addr + (b - from));
		else if (r->source == CRCORE__SOURCE__OTHER)
			mm_pages(pid, core_mm(&rec, r->mm), r->offset + (a - r->addr),
			         r->offset + (b - r->addr), addr + (a - from));
	}
}

static void segment_pages(pid_t pid, const Crcore__Vma *v)
{
	const Crcore__Segment *s = core_segment(&rec, v->object);

	for (size_t i = 0; i < s->n_runs; i++) {
		const Crcore__Run *r = s->runs[i];
		uint64_t skip = v->offset > r->addr ? v->offset - r->addr : 0;
		if (r->source == CRCORE__SOURCE__PAGES && skip < r->pages * PAGE)
			run_pages(pid, r, v->start + (r->addr + skip - v->offset), skip, v->end);
	}
}

static uint64_t *offsets;
static size_t noffsets;

static void note_offsets(Crcore__Run *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (uint64_t k = 0; v[i]->source == CRCORE__SOURCE__PAGES && k < v[i]->pages; k++) {
			if (!GROW(offsets, noffsets))
				exit(1);
			offsets[noffsets++] = v[i]->offset + k * PAGE;
		}
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void used(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < rec.nmms; i++)
		note_offsets(rec.mms[i]->runs, rec.mms[i]->n_runs);
	for (unsigned i = 0; i < rec.nsegments; i++)
		note_offsets(rec.segments[i]->runs, rec.segments[i]->n_runs);
	if (noffsets)
		qsort(offsets, noffsets, sizeof(*offsets), by_number);
	for (size_t i = 0; i < noffsets; i++)
		n += i == 0 || offsets[i] != offsets[i - 1];
	printf("%llu\n", (unsigned long long)(n * PAGE));
}

static void contents(void)
{
	for (unsigned i = 0; i < rec.ntasks; i++) {
		const Crcore__Mm *mm = core_mm(&rec, rec.tasks[i]->mm);
		for (size_t k = 0; mm && k < mm->n_vmas; k++) {
			const Crcore__Vma *v = mm->vmas[k];
			pid_t pid = (pid_t)rec.tasks[i]->pid;
			if (v->backing == CRCORE__BACKING__SEGMENT)
				segment_pages(pid, v);
			else if (!v->shared)
				mm_pages(pid, mm, v->start, v->end, v->start);
		}
	}
}

static int image(const char *dir, void (*what)(void))
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img = NULL;
	int r = image_open(dir, true, &img, &err);

	if (r == 0 && (r = core_records_load(img, &rec, &err)) == 0)
		r = pages_open(img, &pages, &err);
	if (r == 0)
		r = memory_runs(img, &rec, pages_length(pages), &err);
	if (r == 0)
		what();
	else
		fprintf(stderr, "%s: %s: %s\n", dir, err.object, err.message);
	return r < 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "image"))
		return image(argv[2], contents);
	if (argc == 3 && !strcmp(argv[1], "used"))
		return image(argv[2], used);
	for (int i = 2; i < argc; i++)
		live(atoi(argv[i]));
	return argc < 3 || strcmp(argv[1], "live");
}
