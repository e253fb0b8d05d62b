/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting pages into place. The kernel does it atomically for each page, and only where there
 * is none: whatever it answers says what is there now.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/pager/priv.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void note_failure(struct state *p, const struct crcore_error *err)
{
	pthread_mutex_lock(&p->lock);
	if (!p->failure.code)
		p->failure = *err;
	pthread_mutex_unlock(&p->lock);
	(void)!write(p->wake[1], "", 1);
}

bool failed(struct state *p)
{
	pthread_mutex_lock(&p->lock);
	bool ret = p->failure.code != 0;
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* What is there is not lacking any more. */
static int cut(struct state *p, struct space *s, uint64_t addr, uint64_t len)
{
	pthread_mutex_lock(&p->lock);
	uint64_t before = s->view.lacks.bytes;
	bool ok = places_cut(&s->view.lacks, addr, addr + len);
	p->loaded += before - s->view.lacks.bytes;
	pthread_mutex_unlock(&p->lock);
	return ok ? 0 : -ENOMEM;
}

/* One call; *len: how much it did. */
static int copy_some(const struct space *s, uint64_t addr, const uint8_t *from, size_t *len)
{
	struct uffdio_copy c = { .dst = addr, .src = (uintptr_t)from, .len = *len };
	int r = ioctl(s->uffd, UFFDIO_COPY, &c) < 0 ? -errno : 0;

	*len = c.copy > 0 ? (size_t)c.copy : 0;
	return *len ? 0 : r;
}

bool is_quiet(const struct state *p, const struct space *s)
{
	struct uffdio_copy c = { .dst = 1 << 16, .src = (uintptr_t)p->nowhere, .len = PAGE };

	return ioctl(s->uffd, UFFDIO_COPY, &c) == 0 || errno != EAGAIN;
}

int copy_pages(struct state *p, struct space *s, uint64_t addr, const uint8_t *from, size_t len)
{
	size_t most = len;

	for (size_t at = 0; at < len;) {
		size_t n = len - at < most ? len - at : most;
		const size_t tried = n;
		int r = copy_some(s, addr + at, from + at, &n);
		if (r == -ENOENT && tried > PAGE) { /* reaches over the end of a mapping */
			most = ALIGN_UP(tried / 2, PAGE);
			continue;
		}
		if (r == -ENOENT && !is_quiet(p, s)) /* on its way to another place? */
			return -EAGAIN;
		if (r == -ENOENT || r == -EEXIST) { /* not ours any more; or it is there */
			n = PAGE;
			struct uffdio_range range = { addr + at, n };
			ioctl(s->uffd, UFFDIO_WAKE, &range);
		} else if (r < 0) {
			return r;
		}
		if ((r = cut(p, s, addr + at, n)) < 0)
			return r;
		at += n;
	}
	return 0;
}

int copy_zeroes(struct space *s, uint64_t addr)
{
	struct uffdio_zeropage z = { .range = { addr, PAGE } };

	if (ioctl(s->uffd, UFFDIO_ZEROPAGE, &z) == 0)
		return 0;
	if (errno != EEXIST && errno != ENOENT)
		return -errno;
	ioctl(s->uffd, UFFDIO_WAKE, &z.range);
	return 0;
}

/* The first piece of [addr, addr + len) that lacks what offset says; *ret_len 0: none does. */
static void look(struct state *p, const struct space *s, uint64_t addr, uint64_t offset, size_t len,
                 uint64_t *ret_addr, size_t *ret_len)
{
	*ret_len = 0;
	pthread_mutex_lock(&p->lock);
	const struct span *x = places_from(&s->view.lacks, addr);
	if (x && x->start < addr + len) {
		uint64_t start = x->start > addr ? x->start : addr;
		uint64_t end = x->end < addr + len ? x->end : addr + len;
		if (x->val + (start - x->start) == offset + (start - addr)) {
			*ret_addr = start;
			*ret_len = (size_t)(end - start);
		}
	}
	pthread_mutex_unlock(&p->lock);
}

int copy_if_lacking(struct state *p, unsigned space, uint64_t addr, uint64_t offset,
                    const uint8_t *from, size_t len)
{
	uint64_t at = 0;
	size_t n = 0;
	int r = 0;

	pthread_rwlock_rdlock(&p->events);
	struct space *s = p->v[space];
	if (s->uffd >= 0 && !s->gone)
		look(p, s, addr, offset, len, &at, &n);
	while (n && r == 0) {
		r = copy_pages(p, s, at, from + (at - addr), n);
		uint64_t next = at + n;
		n = 0;
		if (r == 0 && next < addr + len)
			look(p, s, next, offset + (next - addr), (size_t)(addr + len - next), &at, &n);
	}
	if (r == -ESRCH)
		s->gone = true;
	pthread_rwlock_unlock(&p->events);
	return r;
}

/* The next one; false: there is none. */
static bool next_huge(struct state *p, struct space **ret_space, uint64_t *ret)
{
	const struct span *x = NULL;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->setup.n && !x; i++) {
		*ret_space = p->v[i];
		x = p->v[i]->uffd < 0 ? places_from(&p->v[i]->huge, 0) : NULL;
	}
	if (x)
		*ret = x->start;
	pthread_mutex_unlock(&p->lock);
	return x;
}

/* Should something else be there by now, or the program be gone, nothing happens. */
bool copy_collapse(struct state *p)
{
	struct space *s;
	uint64_t at;

	if (!next_huge(p, &s, &at))
		return false;
	const struct iovec v = { (void *)(uintptr_t)at, PAGER_HUGE };
	syscall(SYS_process_madvise, s->pidfd, &v, 1, MADV_COLLAPSE, 0);
	pthread_mutex_lock(&p->lock);
	places_cut(&s->huge, at, at + PAGER_HUGE);
	pthread_mutex_unlock(&p->lock);
	return true;
}

void wake_all(const struct space *s)
{
	struct uffdio_range all = { 1 << 16, (1ULL << 47) - PAGE - (1 << 16) };

	if (s->uffd >= 0)
		ioctl(s->uffd, UFFDIO_WAKE, &all);
}
