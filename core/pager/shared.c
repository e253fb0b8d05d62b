/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared anonymous memory. A page of a segment that is filled through one mapping is there in all,
 * so the pager maps the segment itself, watches its own mapping, and puts pages there: to load.c a
 * segment is one more space, which no program can change. Where a program misses a page of its
 * mapping we look for the place of that in ours; and a page that was put where nobody asked for it
 * is right all the same. What cannot be told (memory that was mapped a second time, or made to
 * grow, of which the kernel tells nothing) waits until all is loaded.
 *
 * Pages that a program throws away (MADV_REMOVE) must not be loaded again, and what the kernel
 * says of that looks like what it says where only the program's own mapping is emptied
 * (MADV_DONTNEED). So nothing can be thrown away before all is loaded: whoever does must hold the
 * lock of the inode, and a thread of ours, the guard, has it: it is in the middle of a write to
 * behind the end of the segment, of a page that nobody will give it. When the segment is complete
 * the page goes away, and with it what the write has left behind the end.
 *
 * If the pager is killed, its guards are. Who had told of something thrown away may then go on
 * before the one that goes on has guards: what is to be loaded cannot be told any more.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "core/pager/priv.h"

struct segment {
	uint64_t base, size;  /* where we have it */
	int file;
	uint8_t *gate;        /* page that the guard waits for */
	pthread_t guard;
	pid_t owner;          /* process whose thread it is */
	uint64_t end;         /* of the file */
	atomic_bool passed;   /* the guard has ended */
};

/* ---- the guard ------------------------------------------------------------------------- */

static void *guard(void *arg)
{
	struct segment *g = arg;

	(void)!pwrite(g->file, g->gate, PAGE, (off_t)g->end);
	g->passed = true;
	return NULL;
}

/* It has the lock when it asks for its page. */
static int await_guard(struct segment *g, int uffd, struct crcore_error *err)
{
	struct pollfd v = { uffd, POLLIN, 0 };
	struct uffd_msg msg;

	while (poll(&v, 1, 10) <= 0 || read(uffd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
		if (g->passed) {
			crcore_advise(err, "restore it without --lazy");
			return crcore_fail(err, -ENOTSUP, "shared memory cannot be kept as it is while it is "
			                   "loaded");
		}
	return 0;
}

static int begin_guard(struct segment *g, int uffd, struct crcore_error *err)
{
	sigset_t all, old;

	g->passed = false;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	int r = pthread_create(&g->guard, NULL, guard, g);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return crcore_fail(err, -r, "cannot make a thread");
	g->owner = getpid();
	return await_guard(g, uffd, err);
}

static void end_guard(struct segment *g, int uffd)
{
	struct uffdio_range page = { (uintptr_t)g->gate, PAGE };

	if (g->owner != getpid())
		return;
	g->owner = 0;
	mprotect(g->gate, PAGE, PROT_NONE); /* the write fails with EFAULT */
	ioctl(uffd, UFFDIO_WAKE, &page);
	pthread_join(g->guard, NULL);
	fallocate(g->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)g->end, PAGE);
	munmap(STEAL(g->gate), PAGE);
}

/* ---- our mapping ------------------------------------------------------------------------- */

static bool watch(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_register q = { .range = { start, len }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(uffd, UFFDIO_REGISTER, &q) == 0;
}

static int cannot_map(int e, struct crcore_error *err)
{
	crcore_advise(err, "restore it without --lazy");
	return crcore_fail(err, -e, "the pager cannot map shared memory: %s", strerror(e));
}

/* The descriptor is known to whoever stands by: it keeps its number. */
static int attach(struct space *s, struct crcore_error *err)
{
	struct segment *g = s->segment;
	struct uffdio_api api = { .api = UFFD_API };
	cleanup_close int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 || fstat(g->file, &st) < 0 ||
	    mmap((void *)(uintptr_t)g->base, g->size, PROT_READ | PROT_WRITE,
	         MAP_SHARED | MAP_NORESERVE | MAP_FIXED, g->file, 0) == MAP_FAILED)
		return cannot_map(errno, err);
	g->end = (uint64_t)st.st_size;
	g->gate = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->gate == MAP_FAILED)
		g->gate = NULL;
	if (!g->gate || !watch(uffd, g->base, g->size) || !watch(uffd, (uintptr_t)g->gate, PAGE))
		return cannot_map(errno, err);
	if (s->uffd >= 0 && dup3(uffd, s->uffd, O_CLOEXEC) < 0)
		return cannot_map(errno, err);
	if (s->uffd < 0)
		s->uffd = STEAL_FD(uffd);
	return begin_guard(g, s->uffd, err);
}

static bool begin_one(struct state *p, const struct pager_segment *from)
{
	struct space *s = space_add(p, -1);
	struct segment *g = s ? calloc(1, sizeof(*g)) : NULL;

	if (!g)
		return false;
	void *base = mmap(NULL, from->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	                  0);
	s->segment = g;
	*g = (struct segment){ .base = (uintptr_t)base, .size = from->size, .file = -1 };
	bool ok = base != MAP_FAILED;
	for (unsigned i = 0; i < from->n && ok; i++)
		ok = places_add(&s->view.lacks, g->base + from->fills[i].addr, from->fills[i].pages * PAGE,
		                from->fills[i].file_offset);
	return ok;
}

/* Behind the spaces of programs, which are there by now. */
bool shared_begin(struct state *p)
{
	const struct pager_setup *t = &p->setup;
	bool ok = true;

	for (unsigned i = 0; i < t->nsegments && ok; i++)
		ok = begin_one(p, &t->segments[i]);
	for (unsigned i = 0; i < t->n && ok; i++)
		for (unsigned k = 0; k < t->spaces[i].nmappings && ok; k++) {
			const struct pager_mapping *m = &t->spaces[i].mappings[k];
			ok = places_add(&p->v[i]->view.shared, m->start, m->end - m->start,
			                p->v[t->n + m->segment]->segment->base + m->offset);
		}
	return ok;
}

int shared_take(struct state *p, unsigned segment, int fd, struct crcore_error *err)
{
	p->v[p->setup.n + segment]->segment->file = fd;
	return attach(p->v[p->setup.n + segment], err);
}

/* ---- while programs run ------------------------------------------------------------------ */

bool shared_lacking(const struct state *p)
{
	for (unsigned i = p->setup.n; i < p->setup.n + p->setup.nsegments; i++)
		if (p->v[i]->uffd >= 0)
			return true;
	return false;
}

int shared_find(const struct state *p, const struct space *s, uint64_t addr, struct space **ret,
                  uint64_t *ret_addr)
{
	const struct span *x = places_at(&s->view.shared, addr);

	if (!x)
		return shared_lacking(p) && !places_at(&s->view.watched, addr) ? -1 : 0;
	*ret_addr = x->val + (addr - x->start);
	for (unsigned i = p->setup.n; i < p->setup.n + p->setup.nsegments; i++) {
		const struct segment *g = p->v[i]->segment;
		if (*ret_addr >= g->base && *ret_addr < g->base + g->size) {
			*ret = p->v[i];
			return 1;
		}
	}
	return 0; /* behind the end of it */
}

/* Whatever of it is private, and known, is no segment's. */
static bool is_private(const struct space *s, uint64_t start, uint64_t end)
{
	const struct span *x = places_from(&s->view.shared, start);

	if (x && x->start < end)
		return false;
	for (uint64_t at = start; at < end; at = x->end)
		if (!(x = places_at(&s->view.watched, at)))
			return false;
	return true;
}

void shared_heed(struct state *p, const struct space *s, const struct uffd_msg *m)
{
	if (m->event == UFFD_EVENT_REMOVE && shared_lacking(p) &&
	    !is_private(s, m->arg.remove.start, m->arg.remove.end))
		p->dropped = true;
}

int shared_inherit(struct state *p, struct crcore_error *err)
{
	int r = 0;

	if (p->dropped && shared_lacking(p))
		return crcore_fail(err, -ENOTRECOVERABLE, "the pager was killed while shared memory was "
		                   "thrown away, and what is left of it cannot be told");
	for (unsigned i = p->setup.n; i < p->setup.n + p->setup.nsegments && r == 0; i++)
		if (p->v[i]->uffd >= 0)
			r = attach(p->v[i], err);
	return r;
}

/* ---- the end ------------------------------------------------------------------------------- */

void shared_release(struct space *s, int uffd)
{
	struct segment *g = s->segment;

	end_guard(g, uffd);
	munmap((void *)(uintptr_t)g->base, g->size);
	close(STEAL_FD(g->file));
}

void shared_spoil(struct state *p)
{
	for (unsigned i = p->setup.n; i < p->setup.n + p->setup.nsegments; i++) {
		struct space *s = p->v[i];
		if (s->uffd < 0 || s->segment->file < 0)
			continue;
		end_guard(s->segment, s->uffd);
		(void)!ftruncate(s->segment->file, 0);
	}
}
