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

struct meanwhile {
	pid_t pid;   /* the socket, as that process has it */
	int fd;
	int here;    /* as we have it */
	unsigned n;
	struct change { int level, number, own; } v[CHANGES];
};

struct meanwhile *meanwhile_new(void)
{
	void *m = mmap(NULL, sizeof(struct meanwhile), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	               -1, 0);

	return m == MAP_FAILED ? NULL : m;
}

void meanwhile_free(struct meanwhile *m)
{
	if (m)
		munmap(m, sizeof(*m));
}

static void put_back(struct meanwhile *m, int fd)
{
	for (unsigned n = m->n; n; n--) {
		const struct change *c = &m->v[n - 1];
		set_int(fd, c->level, c->number, c->own);
		__atomic_store_n(&m->n, n - 1, __ATOMIC_SEQ_CST);
	}
}

/* In the process of last wills. */
static void last_will(const void *bytes, size_t len)
{
	struct meanwhile *m;

	memcpy(&m, bytes, sizeof(m));
	if (!m->n)
		return;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0);
	cleanup_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, m->fd, 0);
	if (fd >= 0)
		put_back(m, fd);
}

static void undo(void *state) { meanwhile_back(state); }

int meanwhile_begin(struct tcp *t, struct crcore_error *err)
{
	int r = t->host->undo(t->ctx, undo, t, false, err);

	if (r < 0 || !CRCORE_HAS(t->host, will_first))
		return r;
	return t->host->will_first(t->ctx, last_will, &t->meanwhile, sizeof(t->meanwhile), err);
}

void meanwhile_of(struct tcp *t, const struct known *k, int fd)
{
	t->meanwhile->pid = k->pid;
	t->meanwhile->fd = k->fd;
	t->meanwhile->here = fd;
}

void meanwhile_note(struct tcp *t, int level, int number, int own)
{
	struct meanwhile *m = t->meanwhile;

	m->v[m->n] = (struct change){ level, number, own };
	__atomic_store_n(&m->n, m->n + 1, __ATOMIC_SEQ_CST);
}

int meanwhile_set(struct tcp *t, int level, int number, int value, int own)
{
	meanwhile_note(t, level, number, own);
	return set_int(t->meanwhile->here, level, number, value);
}

void meanwhile_back(struct tcp *t) { put_back(t->meanwhile, t->meanwhile->here); }
