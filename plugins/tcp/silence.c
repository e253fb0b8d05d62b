/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the network lock while the tree is saved, and the end of a tree that is
 * not to go on, of which no peer must hear. Descriptors of all connections are
 * kept beyond the end of the tasks; then they are closed in repair mode, which
 * says nothing to anybody. They wait in flight in a socket pair, where they
 * count against no limit.
 */
#include "plugins/tcp/backlog.h"
#include "plugins/tcp/bank.h"

#define CHUNK 16 /* connections */

static bool outside(const struct known *k)
{
	return k->obj && state_connected(k->state) && !k->peer && !k->unaccepted;
}

/* A tree that goes on takes those who connect meanwhile. */
static bool held(const struct tcp *t, const struct known *k)
{
	return k->obj && k->state == ST_LISTEN && t->hold_listening && leaves(t) == CRCORE_LEAVE_KILLED;
}

int list_locked(struct tcp *t, unsigned more, struct lock_list *l, struct crcore_error *err)
{
	const struct queued *w;
	unsigned n = backlog_list(t, &w);

	*l = (struct lock_list){ .v = calloc(t->nknown + n + more + 1, sizeof(*l->v)) };
	if (!l->v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < t->nknown; i++) {
		const struct known *k = &t->known[i];
		if (outside(k) && k->verdict == KEEP)
			l->v[l->n++] = (struct locked){ k->local, k->remote, false };
		else if (held(t, k))
			l->v[l->n++] = (struct locked){ .local = k->local, .v6only = k->v6only };
	}
	for (unsigned i = 0; i < n; i++)
		l->v[l->n++] = (struct locked){ w[i].local, w[i].remote, false };
	return 0;
}

static int keep(struct tcp *t, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < t->nknown; i++) {
		const struct known *k = &t->known[i];
		if (!k->obj || !state_connected(k->state) || k->verdict == CLOSE || k->unaccepted)
			continue;
		int fd = known_open(t, k, err);
		if (fd < 0)
			return fd;
		t->reset[t->nreset++] = k->verdict == RESET;
		r = bank_put(t->bank, fd);
	}
	return r < 0 ? crcore_fail(err, r, "cannot keep the connections until the end of the tree: %s",
	                           strerror(-r)) : 0;
}

/* -- the hooks --------------------------------------------------------------------------------- */

/* When it is closed the connection ends without a word, or (policy reset) with a RST. */
static void silence(int fd, bool reset)
{
	struct linger now = { 1, 0 };

	if (reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	else
		set_repair(fd, REPAIR_ON);
}

static void close_range_of(void *fds, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		close(((const int *)fds)[i]);
}

/* To close one is most of the work. Those that are in the bank our heir would silence again; what
 * has left it ends in silence by itself. The heir has no threads. */
static void end_connections(struct tcp *t)
{
	const int *fds;
	unsigned n;

	while ((n = bank_next(t->bank, &fds))) {
		const bool *reset = t->reset + bank_dropped(t->bank);
		for (unsigned i = 0; i < n; i++)
			silence(fds[i], reset[i]);
		bank_leave(t->bank, n);
		if (CRCORE_HAS(t->host, parallel) && getpid() == t->worker)
			t->host->parallel(t->ctx, n, CHUNK, close_range_of, (void *)(uintptr_t)fds);
		else
			close_range_of((void *)(uintptr_t)fds, 0, n);
	}
}

/* Undo entry, also of a dump that succeeds: the tasks are gone by now, or run on. */
static void end_of_tree(void *state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct tcp *t = state;
	struct lock_list l;

	if (!t->failed && t->bank) {
		int r = list_locked(t, 0, &l, &err);
		if (!r)
			r = lock_stay(t, &l, &err);
		if (r < 0)
			t->host->log(t->ctx, 1, "the peers of the tree will see their connections reset: %s",
			             err.message);
		free(l.v);
		end_connections(t);
	}
	bank_free(t->bank);
	t->bank = NULL;
}

int tcp_hold(void *state, struct crcore_error *err)
{
	struct tcp *t = state;
	struct lock_list l;
	int r = list_locked(t, 0, &l, err);

	if (!r && l.n)
		r = lock_take(t, &l, err);
	if (!r && t->hold_listening)
		r = review_backlogs(t, err);
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
	t->bank = bank_new();
	t->reset = calloc(t->nknown, sizeof(*t->reset));
	if (!t->bank || !t->reset)
		return crcore_fail(err, -ENOMEM, "cannot keep the connections until the end of the tree");
	t->worker = getpid();
	r = tcp_at_end(t, end_of_tree, err);
	return r ? r : keep(t, err);
}
