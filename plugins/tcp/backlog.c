/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump that ends the tree: connections that wait to be accepted. Nothing but accept()
 * leads to them, so crcore accepts them, through its duplicate of the listening socket,
 * saves each as one that is open, and closes it in repair mode, without a word: the network
 * lock is up. If the dump fails after that they are put back into the backlog as a restore
 * does it (requeue.c), by the undo entry, or, should crcore be killed, by the process of
 * last wills, before the tree goes on.
 *
 * What a reader could break: the list is in memory that both processes see, and was there
 * before the other one began (tcp_open). An entry counts when it is complete.
 */
#include "plugins/record.h"
#include "plugins/tcp/backlog.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define MOST 65536       /* connections */
#define BATCH 256        /* that are open here at a time */
#define HALF_OPEN 200    /* milliseconds that those get who are about to be connected */
#define AGAIN 50         /* ... until they are asked once more */

struct backlog {
	pid_t pid;       /* whose descriptors these are: */
	struct requeue way;
	bool begun;
	unsigned taken;  /* out of their backlogs */
	unsigned n;      /* read, and closed here */
	unsigned back;   /* where they were */
	struct queued v[MOST];
};

struct backlog *backlog_new(void)
{
	struct backlog *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
	                         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return b == MAP_FAILED ? NULL : b;
}

void backlog_free(struct backlog *b)
{
	if (b && b->begun)
		requeue_end(&b->way);
	if (b)
		munmap(b, sizeof(*b));
}

unsigned backlog_list(const struct tcp *t, const struct queued **ret)
{
	*ret = t->backlog ? t->backlog->v : NULL;
	return t->backlog ? t->backlog->taken : 0;
}

/* -- back ---------------------------------------------------------------------------------- */

static int listener_of(const struct queued *w)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);

	return (int)syscall(SYS_pidfd_getfd, pidfd, w->fd, 0);
}

/* ended: the tree may have, by this very dump, of which its peers are not to be told. */
static int put_back(struct backlog *b, const struct requeue *way, bool ended)
{
	int failed = 0;

	for (; b->back < b->n; b->back++) {
		const struct queued *w = &b->v[b->back];
		cleanup_close int listener = listener_of(w);
		if (w->lost || (listener < 0 && ended))
			continue;
		if (listener < 0 || requeue(way, listener, w) < 0) {
			requeue_reset(way, w);
			failed++;
		}
	}
	b->taken = b->n;
	return failed;
}

/* Undo entry, of a dump that failed. */
static void undo(void *state)
{
	struct tcp *t = state;
	int failed = put_back(t->backlog, &t->backlog->way, false);

	if (failed)
		t->host->log(t->ctx, 1, "%d connections that waited to be accepted could not be put back, "
		             "and were reset", failed);
}

/* What was not closed, or not even read, is still open there. A connection that the lock does not
 * have might hear more while it is read: it ends with its descriptor. */
static void read_rest(struct backlog *b, int pidfd, int blob)
{
	unsigned i = b->n;

	if (i) { /* the last one that was read */
		cleanup_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, b->v[i - 1].accepted, 0);
		if (accepted_is(fd, &b->v[i - 1])) /* the number may have been used again */
			accepted_end(fd);
	}
	for (; i < b->taken; i++) {
		cleanup_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, b->v[i].accepted, 0);
		struct queued w = b->v[i];
		off_t end = lseek(blob, 0, SEEK_END);
		w.lost = fd < 0 || end < 0 || (w.local.family && !w.locked) ||
		         (!w.local.family && accepted_names(fd, &w) < 0) ||
		         accepted_read(&w, fd, blob, (uint64_t)end) < 0;
		if (!w.lost)
			accepted_end(fd);
		b->v[i] = w;
		b->n = i + 1;
	}
}

/* In the process of last wills: the other one does not run, but is still there. */
static void last_will(const void *bytes, size_t len)
{
	struct backlog *b;
	struct requeue way;

	memcpy(&b, bytes, sizeof(b));
	if (b->back == b->taken)
		return;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, b->pid, 0);
	int from[] = { b->way.raw[0], b->way.raw[1], b->way.blob, b->way.reqsk.map };
	int *to[] = { &way.raw[0], &way.raw[1], &way.blob, &way.reqsk.map };
	for (int i = 0; i < 4; i++)
		*to[i] = from[i] < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, from[i], 0);
	read_rest(b, pidfd, way.blob);
	put_back(b, &way, true);
	for (int i = 0; i < 4; i++)
		close_fd(to[i]);
}

/* -- the hook ------------------------------------------------------------------------------ */

static int put_record(struct tcp *t, const struct queued *w, struct crcore_error *err)
{
	Tcp__Waiting rec = TCP__WAITING__INIT;
	Tcp__Stream st = TCP__STREAM__INIT;
	Tcp__Queues q = TCP__QUEUES__INIT;
	Tcp__Address local, remote;

	st.send_next = w->ack;
	st.receive_next = w->first + w->received;
	st.fin_received = w->fin;
	st.mss = w->mss;
	st.timestamps = w->timestamps;
	st.sack = w->sack;
	st.scaling = w->scaling;
	st.ecn = w->ecn;
	st.send_scale = w->send_scale;
	st.receive_scale = w->receive_scale;
	st.clock = w->clock;
	st.send_window = (uint32_t)w->window << w->send_scale;
	q.receive_blob = w->at;
	q.received = w->received;
	q.urgent = w->urgent;
	rec.listener = w->listener;
	rec.reset = w->reset;
	rec.stream = &st;
	rec.queues = &q;
	rec.local = address_record(&w->local, &local);
	rec.remote = address_record(&w->remote, &remote);
	return record_put(t->host, t->ctx, "backlog", &rec.base, err);
}

static int begin(struct tcp *t, struct crcore_error *err)
{
	struct backlog *b = t->backlog;
	int blob = t->host->blob(t->ctx, "socket", err);
	int r = blob < 0 ? blob : lock_ready(t, err);

	if (r < 0)
		return r;
	b->pid = getpid();
	b->begun = true;
	r = requeue_begin(&b->way, blob, &t->kfunc, err);
	if (!r)
		r = t->host->undo(t->ctx, undo, t, false, err);
	if (!r && CRCORE_HAS(t->host, will_first))
		r = t->host->will_first(t->ctx, last_will, &t->backlog, sizeof(t->backlog), err);
	return r;
}

static int too_many(struct crcore_error *err)
{
	crcore_advise(err, "dump when some have been accepted, or drop them: --set tcp.in-flight=drop");
	return crcore_fail(err, -E2BIG, "more than %u connections wait to be accepted", MOST);
}

/* Up to BATCH connections, of which *n are there, out of that backlog. An entry exists as soon as
 * the connection is ours. */
static int accept_some(struct tcp *t, const struct known *k, unsigned *n, struct crcore_error *err)
{
	struct backlog *b = t->backlog;
	struct sockaddr_storage here, there;
	cleanup_close int listener = known_open(t, k, err);
	struct pollfd p = { .fd = listener, .events = POLLIN };

	if (listener < 0)
		return listener;
	for (; *n < BATCH && poll(&p, 1, 0) > 0 && p.revents & POLLIN; ++*n) {
		socklen_t hlen = sizeof(here), tlen = sizeof(there);
		struct queued *w = &b->v[b->taken];
		if (b->taken == MOST)
			return too_many(err);
		*w = (struct queued){ .listener = k->obj->id, .pid = k->pid, .fd = k->fd };
		w->accepted = accept4(listener, (struct sockaddr *)&there, &tlen, SOCK_CLOEXEC);
		if (w->accepted < 0 && errno == EMFILE && *n)
			return 0;
		if (w->accepted < 0)
			return crcore_fail(err, -errno, "a connection that waits cannot be accepted: %s",
			                   strerror(errno));
		__atomic_store_n(&b->taken, b->taken + 1, __ATOMIC_SEQ_CST);
		getsockname(w->accepted, (struct sockaddr *)&here, &hlen);
		end_from((struct sockaddr *)&there, &w->remote);
		end_from((struct sockaddr *)&here, &w->local);
		w->locked = graph_find(&t->graph, &w->local, &w->remote);
	}
	return 0;
}

/* What cannot be kept is closed as it is: its peer sees a reset. */
static int save_one(struct tcp *t, struct queued *entry, struct crcore_error *err)
{
	struct backlog *b = t->backlog;
	struct queued w = *entry;
	char there[END_TEXT];
	int r = link_local(&w.local) ? -ENOTSUP :
	        accepted_read(&w, w.accepted, b->way.blob, t->bytes.end);

	t->bytes.end += w.received;
	w.lost = r < 0;
	if (r < 0) {
		t->host->log(t->ctx, 1, "the connection from %s, which waits to be accepted, cannot be "
		             "kept: %s",
		             end_text(&w.remote, there), strerror(-r));
		set_repair(w.accepted, REPAIR_OFF_SILENT);
	}
	*entry = w;
	__atomic_store_n(&b->n, b->n + 1, __ATOMIC_SEQ_CST);
	close(w.accepted);
	return w.lost ? 0 : put_record(t, entry, err);
}

/* ahead: also those that wait now. */
static int lock(struct tcp *t, bool ahead, struct crcore_error *err)
{
	struct lock_list l = { 0 };
	int r = list_locked(t, ahead ? t->graph.n : 0, &l, err);

	for (unsigned i = 0; !r && ahead && i < t->graph.n; i++) {
		const struct other *o = &t->graph.v[i];
		if (waits_in_backlog(o) && listens_at(t, &o->local))
			l.v[l.n++] = (struct locked){ o->local, o->remote, false };
	}
	if (!r)
		r = lock_take(t, &l, err);
	free(l.v);
	return r;
}

/* The lock has what waits before it is accepted, but for who comes just then. */
static int lock_ahead(struct tcp *t, struct crcore_error *err)
{
	bool any = false;
	int r;

	graph_free(&t->graph);
	r = graph_take(&t->graph, GRAPH_ALL, err);
	for (unsigned i = 0; !r && i < t->graph.n; i++)
		any |= waits_in_backlog(&t->graph.v[i]) && listens_at(t, &t->graph.v[i].local);
	if (r < 0 || !any)
		return r;
	if (!t->backlog->begun)
		r = begin(t, err);
	r = r ? r : lock(t, true, err);
	return r ? r : 1;
}

static int lock_late(struct tcp *t, struct crcore_error *err)
{
	struct backlog *b = t->backlog;
	int r = 0;

	for (unsigned i = b->n; i < b->taken && !r; i++)
		if (!b->v[i].locked)
			r = lock(t, false, err);
	for (unsigned i = b->n; i < b->taken && !r; i++)
		b->v[i].locked = true;
	return r;
}

/* Those that wait now, one batch after the other. Returns whether there were any. */
static int take_all(struct tcp *t, struct crcore_error *err)
{
	struct backlog *b = t->backlog;
	int r = lock_ahead(t, err);
	unsigned n = BATCH;

	if (r <= 0)
		return r;
	for (r = 0; !r && n == BATCH;) {
		n = 0;
		for (unsigned i = 0; !r && i < t->nknown; i++)
			if (t->known[i].obj && t->known[i].state == ST_LISTEN && !t->known[i].device)
				r = accept_some(t, &t->known[i], &n, err);
		if (!r)
			r = lock_late(t, err);
		while (b->n < b->taken) {
			struct crcore_error more = CRCORE_ERROR_INIT;
			int r2 = save_one(t, &b->v[b->n], r ? &more : err);
			r = r ? r : r2;
		}
		if (CRCORE_HAS(t->host, alive))
			t->host->alive(t->ctx);
	}
	return r ? r : 1;
}

/* Who is about to be connected, and cannot be asked to try again. The graph is new. */
static unsigned half_open(const struct tcp *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->graph.n; i++)
		n += t->graph.v[i].state == ST_SYN_RECV && listens_at(t, &t->graph.v[i].local);
	return n;
}

int backlog_take(struct tcp *t, struct crcore_error *err)
{
	struct timespec pause = { 0, 1000000 };
	struct halfway halfway = { 0 };
	int r = 0;

	for (int i = 0; keeps_backlog(t) && i < HALF_OPEN; i++) {
		r = take_all(t, err);
		if (r >= 0 && i % AGAIN == 0)
			halfway_ask(t, &halfway);
		if (r < 0 || (!t->hold_listening && !halfway.n) || (!r && !half_open(t)))
			break;
		if (!r)
			nanosleep(&pause, NULL);
	}
	halfway_end(&halfway);
	if (r < 0 || !keeps_backlog(t))
		return r;
	if (t->backlog->n)
		t->host->log(t->ctx, 2, "%u connections wait to be accepted", t->backlog->n);
	if (half_open(t))
		t->host->log(t->ctx, 1, "%u connections are just being made, and are left out: who has not "
		             "been answered tries again, others will see a reset", half_open(t));
	return 0;
}
