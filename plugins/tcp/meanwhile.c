/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: options of a task's socket that are other than the task's for the moment in
 * which something is read from it, repair mode above all. They are put back at once, by
 * the undo entry if a hook was left in the middle, and by the process of last wills,
 * before the task runs again, if crcore is killed just then.
 *
 * What a reader could break: the list is in memory that both processes see, and was
 * there before the other one began (tcp_open). An option is noted before it is set.
 */
#include "plugins/tcp/tcp.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define CHANGES 6
#define SLOTS 64 /* more than threads */

struct meanwhile {
	bool taken;
	pid_t pid;   /* the socket, as that process has it */
	int fd;
	int here;    /* as we have it */
	unsigned n;
	struct change { int level, number, own; } v[CHANGES];
};

struct meanwhile *meanwhile_new(void)
{
	void *m = mmap(NULL, SLOTS * sizeof(struct meanwhile), PROT_READ | PROT_WRITE,
	               MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return m == MAP_FAILED ? NULL : m;
}

void meanwhile_free(struct meanwhile *m)
{
	if (m)
		munmap(m, SLOTS * sizeof(*m));
}

struct meanwhile *meanwhile_take(struct tcp *t)
{
	for (unsigned i = 0;; i = (i + 1) % SLOTS)
		if (!__atomic_exchange_n(&t->meanwhile[i].taken, true, __ATOMIC_SEQ_CST))
			return &t->meanwhile[i];
}

void meanwhile_leave(struct meanwhile *m) { __atomic_store_n(&m->taken, false, __ATOMIC_SEQ_CST); }

static void put_back(struct meanwhile *m, int fd)
{
	for (unsigned n = m->n; n; n--) {
		const struct change *c = &m->v[n - 1];
		set_int(fd, c->level, c->number, c->own);
		__atomic_store_n(&m->n, n - 1, __ATOMIC_SEQ_CST);
	}
}

static void put_back_there(struct meanwhile *m)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0);
	cleanup_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, m->fd, 0);

	if (fd >= 0)
		put_back(m, fd);
}

/* In the process of last wills. */
static void last_will(const void *bytes, size_t len)
{
	struct meanwhile *m;

	memcpy(&m, bytes, sizeof(m));
	for (unsigned i = 0; i < SLOTS; i++)
		if (m[i].n)
			put_back_there(&m[i]);
}

static void undo(void *state)
{
	const struct tcp *t = state;

	for (unsigned i = 0; i < SLOTS; i++)
		meanwhile_back(&t->meanwhile[i]);
}

int meanwhile_begin(struct tcp *t, struct crcore_error *err)
{
	int r = t->host->undo(t->ctx, undo, t, false, err);

	if (r < 0 || !CRCORE_HAS(t->host, will_first))
		return r;
	return t->host->will_first(t->ctx, last_will, &t->meanwhile, sizeof(t->meanwhile), err);
}

void meanwhile_of(struct meanwhile *m, const struct known *k, int fd)
{
	m->pid = k->pid;
	m->fd = k->fd;
	m->here = fd;
}

void meanwhile_note(struct meanwhile *m, int level, int number, int own)
{
	m->v[m->n] = (struct change){ level, number, own };
	__atomic_store_n(&m->n, m->n + 1, __ATOMIC_SEQ_CST);
}

int meanwhile_set(struct meanwhile *m, int level, int number, int value, int own)
{
	meanwhile_note(m, level, number, own);
	return set_int(m->here, level, number, value);
}

void meanwhile_back(struct meanwhile *m) { put_back(m, m->here); }
