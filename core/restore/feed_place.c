/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes into the memory of a task that waits for them.
 *
 * process_vm_writev(2) does it everywhere: for each page that is missing the kernel makes one,
 * clears it, and then copies to it. Into memory that a userfaultfd watches it copies to a new page
 * at once (UFFDIO_COPY), which takes a quarter less time. So the task makes one, in its program
 * where it would have read its pages; we fetch it, watch what has no pages yet, and both close it
 * when all is in place, with which nothing of it is left. Huge pages come by writing alone.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "core/restore/feed_priv.h"
#include "core/restore/uffd.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define WRITE_MAX 512         /* pieces of one call */
#define WATCH_MIN (64u << 10) /* bytes side by side; less is written sooner than it is watched */
#define THP "/sys/kernel/mm/transparent_hugepage"

/* ---- what can be watched ------------------------------------------------------------------ */

/* Does it say that all memory is to be in huge pages of that size, or of any? */
static bool says_always(const char *size, bool unknown)
{
	char path[PATH_MAX], text[64] = "";

	snprintf(path, sizeof(path), THP "/%s/enabled", size);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return unknown;
	return strstr(text, "[always]");
}

static bool huge_by_default(void)
{
	DIR *d = opendir(THP);
	bool ret = says_always(".", true);

	for (const struct dirent *e; d && !ret && (e = readdir(d));)
		ret = !strncmp(e->d_name, "hugepages-", 10) && says_always(e->d_name, false);
	if (d)
		closedir(d);
	return ret;
}

static bool is_fit(const Crcore__Vma *v, bool huge)
{
	const bool advised = v->advice >> MADV_HUGEPAGE & 1, off = v->advice >> MADV_NOHUGEPAGE & 1;

	return v->backing == CRCORE__BACKING__ANON && !v->shared && !v->grows_down && !v->droppable &&
	       !advised && (!huge || off);
}

static int by_start(const void *a, const void *b)
{
	const struct zone *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Neighbours are one. If one were watched and the other not when they get pages, the kernel would
 * not join them any more, whatever a program does to make them alike. */
static void join_neighbours(struct zones *z)
{
	unsigned n = 0, large = 0;

	for (unsigned i = 0; i < z->n; i++) {
		struct zone *last = n ? &z->v[n - 1] : NULL;
		if (last && last->end == z->v[i].start) {
			last->end = z->v[i].end;
			last->range.end = z->v[i].range.end;
		} else {
			z->v[n++] = z->v[i];
		}
	}
	for (unsigned i = 0; i < n; i++)
		if (z->v[i].end - z->v[i].start >= WATCH_MIN)
			z->v[large++] = z->v[i];
	z->n = large;
}

int zones_find(struct restore *r, const struct fresh *f, struct zones *ret,
               struct crcore_error *err)
{
	const bool huge = !r->only_plan && huge_by_default();

	*ret = (struct zones){ 0 };
	for (unsigned i = 0; i < f->n; i++) {
		const struct layout_map *m = &f->v[i];
		const uint64_t start = f->whole ? m->vma->start : m->start;
		const uint64_t end = f->whole ? m->vma->end : m->end;
		if (!is_fit(m->vma, huge))
			continue;
		if (!GROW(ret->v, ret->n))
			return crcore_no_memory(err);
		ret->v[ret->n++] = (struct zone){ m->start, m->end, { start, end }, false };
	}
	qsort(ret->v, ret->n, sizeof(*ret->v), by_start);
	join_neighbours(ret);
	return 0;
}

struct zone *zones_at(const struct zones *z, uint64_t addr, uint64_t *ret_end)
{
	unsigned low = 0, high = z->n; /* the first that ends behind addr */

	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (z->v[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	struct zone *x = low < z->n ? &z->v[low] : NULL;
	const bool in = x && x->start <= addr;
	*ret_end = !x ? UINT64_MAX : in ? x->end : x->start;
	return in ? x : NULL;
}

/* ---- in the program ----------------------------------------------------------------------- */

int feed_plan_watch(struct feed *f, const struct zones *z, struct crcore_error *err)
{
	for (unsigned i = 0; i < z->n; i++)
		if (z->v[i].used && !uffd_add_range(&f->ranges, &f->nranges, z->v[i].range.start,
		                                    z->v[i].range.end))
			return crcore_no_memory(err);
	if (f->nranges)
		f->op = CALL(f->stub->p, "watch memory", SYS_userfaultfd, EXPECT_ANY, 0,
		             IMM(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
	return 0;
}

void feed_plan_end(struct feed *f)
{
	if (f->op != UINT32_MAX)
		CALL(f->stub->p, "close", SYS_close, EXPECT_ANY, 0, RESULT(f->op));
}

/* ---- while it waits ------------------------------------------------------------------------- */

void feed_watch(struct feed *f)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct uffdio_api api = { .api = UFFD_API };

	if (f->op == UINT32_MAX || prog_result(f->stub->p, f->op) < 0)
		return;
	f->uffd = uffd_fetch(f->stub, f->op, NULL, &ignored);
	if (f->uffd >= 0 && ioctl(f->uffd, UFFDIO_API, &api) == 0)
		f->watched = uffd_watch(f->uffd, f->ranges, f->nranges, &ignored) == 0;
}

void feed_unwatch(struct feed *f)
{
	if (f->uffd >= 0)
		close(f->uffd);
	f->uffd = -1;
}

static int cannot_place(const struct feed *f, int error, struct crcore_error *err)
{
	const pid_t pid = (pid_t)f->stub->r->births.v[f->stub->birth].pid;

	if (error == ESRCH)
		return task_was_killed(pid, err);
	crcore_fail_at(err, pid, -1, "task %d", pid);
	return crcore_fail(err, -error, "cannot write its pages: %s", strerror(error));
}

static int copy(const struct feed *f, uint64_t addr, const uint8_t *from, size_t len,
                struct crcore_error *err)
{
	while (len) {
		struct uffdio_copy c = { .dst = addr, .src = (uintptr_t)from, .len = len,
			                 .mode = UFFDIO_COPY_MODE_DONTWAKE };
		if (ioctl(f->uffd, UFFDIO_COPY, &c) == 0)
			return 0;
		if (c.copy <= 0 && errno != EAGAIN && errno != EINTR)
			return cannot_place(f, errno, err);
		const size_t done = c.copy > 0 ? (size_t)c.copy : 0;
		addr += done;
		from += done;
		len -= done;
	}
	return 0;
}

static int write_all(const struct feed *f, const struct iovec *local, const struct iovec *remote,
                     unsigned n, struct crcore_error *err)
{
	ssize_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += (ssize_t)local[i].iov_len;
	ssize_t done = n ? process_vm_writev(f->stub->r->births.v[f->stub->birth].pid, local, n, remote,
	                                     n, 0) : 0;
	return done == len ? 0 : cannot_place(f, done < 0 ? errno : EFAULT, err);
}

int feed_place(const struct feed *f, unsigned from, unsigned to, const uint8_t *bytes,
               uint64_t base, struct crcore_error *err)
{
	struct iovec local[WRITE_MAX], remote[WRITE_MAX];
	unsigned n = 0;
	int r = 0;

	for (; from < to && r == 0; from++) {
		const struct piece *p = &f->v[from];
		const uint8_t *at = bytes + (p->offset - base);
		if (f->watched && p->fresh) {
			r = copy(f, p->addr, at, p->len, err);
			continue;
		}
		local[n] = (struct iovec){ (void *)(uintptr_t)at, p->len };
		remote[n] = (struct iovec){ (void *)(uintptr_t)p->addr, p->len };
		if (++n == WRITE_MAX) {
			r = write_all(f, local, remote, n, err);
			n = 0;
		}
	}
	return r < 0 ? r : write_all(f, local, remote, n, err);
}
