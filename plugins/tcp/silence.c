/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the network lock while the tree is saved, and the end of a tree that is
 * not to go on, of which no peer must hear. Descriptors of all connections are
 * kept beyond the end of the tasks; then they are closed in repair mode, which
 * says nothing to anybody. They wait in flight in a socket pair, where they
 * count against no limit.
 */
#include "plugins/tcp/tcp.h"

#define BATCH 200

struct bank {
	int pair[2];
	bool *reset; /* for each, in the order of keeping: its peer is to see a reset */
	unsigned n;
};

static bool outside(const struct known *k)
{
	return k->obj && state_connected(k->state) && !k->peer && !k->unaccepted;
}

static int list_outside(const struct tcp *t, struct lock_list *l, struct crcore_error *err)
{
	*l = (struct lock_list){ .v = calloc(t->nknown + 1, sizeof(*l->v)) };
	if (!l->v)
		return crcore_fail(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < t->nknown; i++) {
		const struct known *k = &t->known[i];
		if (outside(k) && k->verdict == KEEP)
			l->v[l->n++] = (struct locked){ k->local, k->remote };
	}
	return 0;
}

/* -- descriptors in flight ------------------------------------------------------------------ */

static int put(struct bank *b, const int *fds, unsigned n)
{
	char control[CMSG_SPACE(BATCH * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec io = { &(char){ 0 }, 1 };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(b->pair[0], &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int take(struct bank *b, int *fds)
{
	char control[CMSG_SPACE(BATCH * sizeof(int))] __attribute__((aligned(8)));
	char byte;
	struct iovec io = { &byte, 1 };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	if (recvmsg(b->pair[1], &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return 0;
	c = CMSG_FIRSTHDR(&h);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return 0;
	memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static int keep(struct tcp *t, struct crcore_error *err)
{
	int fds[BATCH], r = 0;
	unsigned n = 0;

	for (unsigned i = 0; !r && i < t->nknown; i++) {
		const struct known *k = &t->known[i];
		if (!k->obj || !state_connected(k->state) || k->verdict == CLOSE || k->unaccepted)
			continue;
		fds[n] = known_open(t, k, err);
		if (fds[n] < 0) {
			int e = fds[n];
			close_all(fds, n);
			return e;
		}
		t->bank->reset[t->bank->n++] = k->verdict == RESET;
		if (++n == BATCH) {
			r = put(t->bank, fds, n);
			close_all(fds, n);
			n = 0;
		}
	}
	if (!r && n)
		r = put(t->bank, fds, n);
	close_all(fds, n);
	return r < 0 ? crcore_fail(err, r, "cannot keep the connections until the end of the tree: %s",
	                           strerror(-r)) : 0;
}

void bank_free(struct tcp *t)
{
	if (!t->bank)
		return;
	close_fd(&t->bank->pair[0]);
	close_fd(&t->bank->pair[1]);
	free(t->bank->reset);
	free(t->bank);
	t->bank = NULL;
}

/* -- the hooks --------------------------------------------------------------------------------- */

/* The connection ends without a word, or (policy reset) with a RST to its peer. */
static void end_one(int fd, bool reset)
{
	struct linger now = { 1, 0 };

	if (reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	else
		set_repair(fd, REPAIR_ON);
	close(fd);
}

/* Undo entry, for failures only: tells the next one. */
static void note_failure(void *state) { ((struct tcp *)state)->failed = true; }

/* Undo entry, also of a dump that succeeds: the tasks are gone by now, or run on. */
static void end_of_tree(void *state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct tcp *t = state;
	struct lock_list l;
	int fds[BATCH], n;
	unsigned k = 0;

	if (!t->failed && t->bank) {
		int r = list_outside(t, &l, &err);
		if (!r)
			r = lock_stay(t, &l, &err);
		if (r < 0)
			t->host->log(t->ctx, 1, "the peers of the tree will see their connections reset: %s",
			             err.message);
		free(l.v);
		while ((n = take(t->bank, fds)) > 0)
			for (int i = 0; i < n; i++)
				end_one(fds[i], t->bank->reset[k++]);
	}
	bank_free(t);
}

int tcp_hold(void *state, struct crcore_error *err)
{
	struct tcp *t = state;
	struct lock_list l;
	int r = list_outside(t, &l, err);

	if (!r && l.n)
		r = lock_take(t, &l, err);
	free(l.v);
	return r;
}

/* All is saved. What goes on needs the lock no more; what ends must end in silence. */
int tcp_dump_release(struct tcp *t, struct crcore_error *err)
{
	int r;

	if (leaves(t) != CRCORE_LEAVE_KILLED) {
		lock_drop(t);
		return 0;
	}
	if (!t->nknown)
		return 0;
	t->bank = calloc(1, sizeof(*t->bank));
	if (!t->bank)
		return crcore_fail(err, -ENOMEM, "out of memory");
	t->bank->pair[0] = t->bank->pair[1] = -1;
	t->bank->reset = calloc(t->nknown, sizeof(*t->bank->reset));
	if (!t->bank->reset)
		return crcore_fail(err, -ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t->bank->pair) < 0)
		return crcore_fail(err, -errno, "cannot make a socket pair: %s", strerror(errno));
	r = t->host->undo(t->ctx, end_of_tree, t, true, err);
	if (!r)
		r = t->host->undo(t->ctx, note_failure, t, false, err);
	return r ? r : keep(t, err);
}
