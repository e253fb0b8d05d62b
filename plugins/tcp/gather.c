/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: all that is asked of the sockets of a frozen tree, some hundred calls of the kernel
 * each, by several threads, when the network lock is up. A record then takes none. The two ends
 * of a connection are read by one thread (read.c).
 *
 * What a reader could break: repair mode changes SO_REUSEADDR, and the look for urgent data
 * SO_OOBINLINE. Options are read before both. A thread touches its sockets' entries, and
 * of what is shared only what has a lock.
 */
#include "plugins/net/filter.h"
#include "plugins/tcp/tcp.h"

#define CHUNK 8 /* connections */

struct gathering {
	struct tcp *t;
	struct known **v; /* one of each connection, and all that are none */
	size_t n;
};

/* The same for the other end. */
static bool both(const struct known *k)
{
	return k->peer && k->peer != k && k->peer->obj;
}

static int ask(struct tcp *t, struct known *k, int fd, struct crcore_error *err)
{
	int r = net_options_read(&t->usual, fd, k->local.family, SOCK_STREAM, IPPROTO_TCP, &k->options,
	                         &k->noptions);

	if (r < 0)
		return crcore_fail(err, r, "its options cannot be read: %s", strerror(-r));
	net_buffers_read(fd, &k->buffers);
	if (!state_connected(k->state))
		k->user_mss = get_int(fd, IPPROTO_TCP, T_MAXSEG);
	return net_filter_read(fd, &k->filter, &k->nfilter, &k->filter_locked, err);
}

static void ask_clock(struct known *k, int fd)
{
	socklen_t len = sizeof(k->stream.clock);

	if (state_connected(k->state))
		getsockopt(fd, IPPROTO_TCP, T_TIMESTAMP, &k->stream.clock, &len);
}

static int gather_one(struct reader *r, struct known *k, struct crcore_error *err)
{
	int fd = known_borrow(r->t, k, err);
	int other = fd >= 0 && both(k) ? known_borrow(r->t, k->peer, err) : -1;
	int rc = err->code;

	if (rc >= 0)
		rc = ask(r->t, k, fd, err);
	if (!rc && other >= 0)
		rc = ask(r->t, k->peer, other, err);
	if (!rc)
		rc = read_connection(r, k, fd, other, err);
	ask_clock(k, fd);
	if (other >= 0)
		ask_clock(k->peer, other);
	known_return(k, fd);
	if (other >= 0)
		known_return(k->peer, other);
	if (rc < 0)
		crcore_fail_at(err, k->pid, k->fd, "%s", k->obj->link);
	return rc;
}

static void gather_range(void *arg, size_t from, size_t to)
{
	const struct gathering *g = arg;
	struct reader r = { .t = g->t, .meanwhile = meanwhile_take(g->t) };

	for (size_t i = from; i < to; i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct known *k = g->v[i];
		if (gather_one(&r, k, &err) < 0)
			known_failed(k, &err);
	}
	meanwhile_leave(r.meanwhile);
	free(r.room);
}

/* What options are compared with must be there before several look for it. */
static int know_usual(struct tcp *t, int family, struct crcore_error *err)
{
	cleanup_close int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	cleanup_free struct net_value *v = NULL;
	unsigned n;
	int r = fd < 0 ? -errno : 0;

	if (!r)
		r = net_options_read(&t->usual, fd, family, SOCK_STREAM, IPPROTO_TCP, &v, &n);
	return r < 0 ? crcore_fail(err, r, "no socket to compare with: %s", strerror(-r)) : 0;
}

static int begin(struct tcp *t, struct gathering *g, struct crcore_error *err)
{
	bool family[2] = { false }; /* IPv4, IPv6 */
	int r;

	g->v = calloc(t->nknown + 1, sizeof(*g->v));
	if (!g->v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < t->nknown; i++) {
		struct known *k = &t->known[i];
		tcp__stream__init(&k->stream);
		tcp__queues__init(&k->queues);
		if (!k->obj)
			continue;
		family[k->local.family != AF_INET] = true;
		if (!both(k) || k < k->peer)
			g->v[g->n++] = k;
	}
	r = bytes_begin(t, err);
	if (!r)
		r = meanwhile_begin(t, err);
	if (!r && family[0])
		r = know_usual(t, AF_INET, err);
	return !r && family[1] ? know_usual(t, AF_INET6, err) : r;
}

int tcp_gather(struct tcp *t, struct crcore_error *err)
{
	struct gathering g = { .t = t };
	int r;

	if (t->gathered)
		return 0;
	t->gathered = true;
	r = begin(t, &g, err);
	if (!r && CRCORE_HAS(t->host, parallel))
		t->host->parallel(t->ctx, g.n, CHUNK, gather_range, &g);
	else if (!r)
		gather_range(&g, 0, g.n);
	free(g.v);
	return r;
}

int known_value(const struct known *k, int level, int number, int usual)
{
	for (unsigned i = 0; i < k->noptions; i++)
		if (k->options[i].level == level && k->options[i].number == number)
			memcpy(&usual, k->options[i].data, sizeof(usual));
	return usual;
}

void known_failed(struct known *k, const struct crcore_error *why)
{
	k->failure = malloc(sizeof(*why));
	if (k->failure)
		*k->failure = *why;
	k->failed = true;
}

int known_tell(const struct known *k, struct crcore_error *err)
{
	if (!k->failure)
		return crcore_no_memory(err);
	*err = *k->failure;
	return err->code;
}

void known_free(struct known *k)
{
	free(k->options);
	free(k->filter);
	free(k->failure);
}
