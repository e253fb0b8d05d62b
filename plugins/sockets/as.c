/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what SO_PEERCRED tells of a connection is who made it. So it is made
 * by a process that has the pid of whoever that was for a moment, and takes on
 * user and group. Where the number cannot be had it has that of crcore.
 */
#include "sockets.h"

#include <sys/mman.h>

#define HELPERS_MAX 1000 /* each takes a moment; pairs with the same credentials share one */

struct act {
	int (*fn)(void *arg);
	void *arg;
	uint32_t uid, gid;
};

static int enter(void *arg)
{
	const struct act *a = arg;

	become(a->uid, a->gid);
	return a->fn(a->arg);
}

int as_them(struct sockets *s, const struct ucred *who, int (*fn)(void *), void *arg)
{
	struct crcore_error failed = CRCORE_ERROR_INIT;
	struct act a = { fn, arg, who->uid, who->gid };
	int r;

	if (who->pid && CRCORE_HAS(s->host, run_as) && s->helpers < HELPERS_MAX) {
		s->helpers++;
		r = s->host->run_as(s->ctx, who->pid, enter, &a, &failed);
		if (!failed.code)
			return r;
		s->host->log(s->ctx, 2, "SO_PEERCRED: the pid %d cannot be had (%s)", (int)who->pid,
		             failed.message);
	}
	become(a.uid, a.gid);
	r = fn(arg);
	become(getuid(), getgid());
	return r;
}

int as_peer_of(struct sockets *s, const struct made *m, int (*fn)(void *), void *arg)
{
	struct ucred who = { 0, getuid(), getgid() };

	if (m && m->rec->has_cred)
		who = (struct ucred){ (pid_t)m->rec->cred_pid, m->rec->cred_uid, m->rec->cred_gid };
	return as_them(s, &who, fn, arg);
}

/* -- pairs ---------------------------------------------------------------------------------- */

struct pairs {
	struct made *const *v; /* one of each pair */
	unsigned n;
	int (*fds)[2];         /* shared with the helper */
};

static int by_cred(const void *a, const void *b)
{
	const Sockets__Unix *x = (*(struct made *const *)a)->rec, *y = (*(struct made *const *)b)->rec;

	if (x->has_cred != y->has_cred)
		return x->has_cred - y->has_cred;
	if (x->cred_pid != y->cred_pid)
		return x->cred_pid < y->cred_pid ? -1 : 1;
	if (x->cred_uid != y->cred_uid)
		return x->cred_uid < y->cred_uid ? -1 : 1;
	return (x->cred_gid > y->cred_gid) - (x->cred_gid < y->cred_gid);
}

static int make(void *arg)
{
	struct pairs *p = arg;

	for (unsigned i = 0; i < p->n; i++)
		if (socketpair(AF_UNIX, (int)p->v[i]->rec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		               p->fds[i]) < 0)
			return -errno;
	return 0;
}

static void hand_out(const struct pairs *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct made *m = p->v[i];
		if (p->fds[i][0] < 0)
			continue;
		m->fd = p->fds[i][0];
		*(m->peer ? &m->peer->fd : &m->other) = p->fds[i][1];
		m->exists = m->paired = true;
		if (m->peer)
			m->peer->exists = m->peer->paired = true;
	}
}

/* While a helper shares our table of descriptors, each growth of it waits for all processors. */
static void grow_table(unsigned more)
{
	int low = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int high = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, low + (int)more + 16);

	close_fd(&low);
	close_fd(&high);
}

int as_pairs(struct sockets *s, struct made **v, unsigned n, struct crcore_error *err)
{
	size_t size = (size_t)n * sizeof(int[2]);
	int (*fds)[2] = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                    -1, 0);
	int r = 0;

	if (fds == MAP_FAILED)
		return crcore_no_memory(err);
	memset(fds, -1, size);
	grow_table(2 * n);
	if (n)
		qsort(v, n, sizeof(*v), by_cred);
	for (unsigned i = 0, k; !r && i < n; i = k) {
		struct pairs p = { .v = v + i, .fds = fds + i };
		for (k = i + 1; k < n && by_cred(&v[i], &v[k]) == 0; k++)
			;
		p.n = k - i;
		r = as_peer_of(s, v[i], make, &p);
		hand_out(&p);
	}
	munmap(fds, size ? size : 1);
	return r < 0 ? crcore_fail(err, r, "cannot make pairs of sockets: %s", strerror(-r)) : 0;
}
