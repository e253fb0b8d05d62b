/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading pages of tasks and segments.
 *
 * process_vm_readv pins what it reads, and pinning a page that is shared
 * copy-on-write makes the kernel give the task a copy of its own: a dump would
 * double the memory of a tree that goes on. Such pages (and those that the task
 * itself may not read) are read through /proc/PID/mem, which only takes a look.
 */
#include <fcntl.h>
#include "core/memory/pagemap_scan.h"
#include "core/memory/store_priv.h"

enum {
	NEAR = 16,                     /* pages: to read some more takes less than to read once more */
	ENTRIES = BLOCK_PAGES + NEAR,  /* of the kernel's page map, read at once */
};

/* ---- whose pages they are ------------------------------------------------------------------ */

/* The entries of a batch's ranges from i on, as many as are near each other. Returns the index
 * behind the last of them. What nothing is told of has entries of 0. */
static unsigned read_entries(const struct pagemap *map, const struct iovec *v, unsigned i,
                             unsigned n, uint64_t *ret)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const uint64_t start = (uintptr_t)v[i].iov_base;
	uint64_t end = start, next = start;

	for (; i < n && next >= end && next - end <= NEAR * PAGE; i++) {
		if (next + v[i].iov_len - start > ENTRIES * PAGE)
			break;
		end = next + v[i].iov_len;
		next = i + 1 < n ? (uintptr_t)v[i + 1].iov_base : 0;
	}
	if (pages_entries(map, start, ret, (end - start) / PAGE, &ignored) < 0)
		memset(ret, 0, (end - start) / PAGE * sizeof(*ret));
	return i;
}

/* Appends what of a range nobody else has. */
static int keep_own(struct copier *c, struct batch *b, struct iovec range, const uint64_t *entries,
                    struct crcore_error *err)
{
	const uint64_t own = PM_PRESENT | PM_EXCLUSIVE;
	bool goes_on = false;
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < range.iov_len; at += PAGE, entries++) {
		char *page = (char *)range.iov_base + at;
		if ((*entries & own) != own) {
			r = store_note(c, b->job->source, (uintptr_t)page, true, err);
			goes_on = false;
			continue;
		}
		if (!goes_on)
			b->from[b->n++] = (struct iovec){ page, 0 };
		b->from[b->n - 1].iov_len += PAGE;
		b->pages++;
		goes_on = true;
	}
	return r;
}

int leave_shared(struct copier *c, struct batch *b, struct crcore_error *err)
{
	const struct pagemap *map = b->job->source->pagemap;
	uint64_t entries[ENTRIES];
	struct iovec v[BLOCK_PAGES];
	const unsigned n = b->n;
	int r = 0;

	if (!map)
		return 0;
	memcpy(v, b->from, n * sizeof(*v));
	b->n = 0;
	b->pages = 0;
	for (unsigned i = 0, k; r == 0 && i < n; i = k) {
		const char *start = v[i].iov_base;
		k = read_entries(map, v, i, n, entries);
		for (unsigned j = i; r == 0 && j < k; j++)
			r = keep_own(c, b, v[j],
			             entries + ((const char *)v[j].iov_base - start) / (long)PAGE, err);
	}
	return r;
}

/* ---- what is in them ----------------------------------------------------------------------- */

static int open_source(struct copier *c, struct source *src, struct crcore_error *err)
{
	if (!src->mm && !src->task)
		return src->fd;
	if (c->open == src)
		return c->fd;
	if (c->fd >= 0)
		close(c->fd);
	c->open = NULL;
	c->fd = src->mm ? openat(src->mm->task->proc, "mem", O_RDONLY | O_CLOEXEC) :
	                  openat(src->task->proc, src->map_file, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0)
		return crcore_fail(err, -errno, "cannot open %s: %s",
		                   src->mm ? "/proc/PID/mem" : src->map_file, strerror(errno));
	c->open = src;
	return c->fd;
}

/* The page at *to, byte skip of its piece, cannot be read: passes over it. */
static void pass_over(struct batch *b, const char *block, char **to, uint64_t *skip)
{
	uint64_t rest = PAGE - *skip % PAGE;

	b->gone[(size_t)(*to - block) / PAGE] = true;
	b->ngone++;
	memset(*to, 0, rest);
	*to += rest;
	*skip += rest;
}

/* Reads what process_vm_readv cannot or must not, and segments. */
static int read_file(struct copier *c, struct batch *b, uint64_t done, char *to,
                     struct crcore_error *err)
{
	struct source *src = b->job->source;
	const bool live = c->q->store->live;
	const char *first = to - done;
	struct crcore_error gone = CRCORE_ERROR_INIT;
	int fd = open_source(c, src, live ? &gone : err);

	if (fd < 0 && !live)
		return fd;
	for (unsigned i = 0; i < b->n; i++) {
		uint64_t len = b->from[i].iov_len, at = (uint64_t)(uintptr_t)b->from[i].iov_base;
		uint64_t skip = done < len ? done : len;
		done -= skip;
		while (skip < len) {
			ssize_t n = fd < 0 ? -1 : pread(fd, to, len - skip, (off_t)(at + skip));
			if (n <= 0 && !src->mm && n == 0) { /* past the end of a segment's last page */
				memset(to, 0, len - skip);
				n = (ssize_t)(len - skip);
			}
			if (n <= 0 && live) {
				pass_over(b, first, &to, &skip);
				continue;
			}
			if (n <= 0) {
				int e = n < 0 ? errno : EIO;
				const struct task *t = src->mm ? src->mm->task : src->task;
				crcore_fail_at(err, t ? t->abi.pid : -1, -1, "memory at %llx",
				               (unsigned long long)(at + skip));
				return crcore_fail(err, -e, "cannot be read: %s", strerror(e));
			}
			skip += (uint64_t)n;
			to += n;
		}
	}
	return 0;
}

int read_batch(struct copier *c, struct batch *b, char *to, struct crcore_error *err)
{
	struct source *src = b->job->source;
	ssize_t n = 0;

	if (src->mm && !b->job->gently) {
		struct iovec local = { to, b->pages * PAGE };
		n = process_vm_readv(src->mm->task->abi.pid, &local, 1, b->from, b->n, 0);
		if (n == (ssize_t)(b->pages * PAGE))
			return 0;
		if (n < 0)
			n = 0;
	}
	return read_file(c, b, (uint64_t)n, to + n, err);
}
