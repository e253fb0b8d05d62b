/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: connections. Two ends without names are a socketpair. Where an end
 * has a name it is that of the socket that accepted it, so there it is made by
 * connecting and accepting: at the listening socket of the tree if that is
 * still there, or else at one of our own that is bound to the name meanwhile.
 */
#include "sockets.h"

#define MANY 65535 /* backlog while we connect; the kernel limits it */

static bool same_name(const struct made *a, const struct made *b)
{
	return a->rec->type == b->rec->type && a->rec->name.len == b->rec->name.len &&
	       a->rec->name.len && !memcmp(a->rec->name.data, b->rec->name.data, a->rec->name.len) &&
	       !strcmp(a->rec->dir, b->rec->dir);
}

struct listening { int fd, backlog; };

static int call_listen(void *arg)
{
	const struct listening *l = arg;

	return listen(l->fd, l->backlog) < 0 ? -errno : 0;
}

static int do_listen(struct sockets *s, int fd, int backlog, const struct made *creds_of,
                     struct crcore_error *err)
{
	struct listening l = { fd, backlog };
	int r = as_peer_of(s, creds_of, call_listen, &l);

	return r < 0 ? crcore_fail(err, r, "cannot listen: %s", strerror(-r)) : 0;
}

struct connecting { const struct made *to; int fd; };

static int call_connect(void *arg)
{
	const struct connecting *c = arg;

	return name_connect(c->to, c->fd);
}

/* Connects fd to the name of m; who asks the accepted end sees the credentials of creds_of. */
static int do_connect(const struct made *m, const struct made *creds_of, int fd,
                      struct crcore_error *err)
{
	struct connecting c = { m, fd };
	int r = as_peer_of(m->s, creds_of, call_connect, &c);

	return r < 0 ? crcore_fail(err, r, "cannot connect to it: %s", strerror(-r)) : 0;
}

/* server was accepted by who listens at fd; the client is a socket of the tree, or closed. */
static int accept_at(int fd, struct made *server, struct crcore_error *err)
{
	struct made *client = server->peer;
	int *other = client ? &client->fd : &server->other, r = 0;

	if (client)
		r = made_socket(client, err);
	else
		*other = socket(AF_UNIX, (int)server->rec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (!r && *other < 0)
		r = crcore_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (!r)
		r = do_connect(server, server, *other, err);
	if (r < 0)
		return r;
	server->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (server->fd < 0)
		return crcore_fail(err, -errno, "cannot accept a connection: %s", strerror(errno));
	server->exists = true;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct made *x = *(struct made *const *)a, *y = *(struct made *const *)b;

	return (x->rec->place > y->rec->place) - (x->rec->place < y->rec->place);
}

/* Nobody tells who connected it; most likely it was its owner. */
static int connect_as_owner(const struct made *l, const struct made *m, struct crcore_error *err)
{
	struct connecting c = { l, m->fd };
	struct ucred who = { (pid_t)m->rec->holder, m->rec->uid, m->rec->gid };
	int r = as_them(l->s, &who, call_connect, &c);

	return r < 0 ? crcore_fail(err, r, "cannot connect to it: %s", strerror(-r)) : 0;
}

static int connect_waiting(struct sockets *s, struct made *l, struct crcore_error *err)
{
	cleanup_free struct made **v = calloc(s->nmade, sizeof(*v));
	unsigned n = 0;
	int r = 0;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < s->nmade; i++)
		if (s->made[i]->rec->state == SOCKETS__STATE__WAITING && s->made[i]->peer == l)
			v[n++] = s->made[i];
	qsort(v, n, sizeof(*v), by_place);
	for (unsigned i = 0; !r && i < n; i++) {
		r = made_socket(v[i], err);
		if (!r)
			r = connect_as_owner(l, v[i], err);
	}
	return r;
}

static int make_listener(struct sockets *s, struct made *l, struct crcore_error *err)
{
	int r = made_socket(l, err);

	if (!r)
		r = do_listen(s, l->fd, MANY, l, err);
	for (unsigned i = 0; !r && i < s->nmade; i++) {
		struct made *m = s->made[i];
		bool connected = m->rec->state == SOCKETS__STATE__CONNECTED;
		if (!m->exists && (connected || m->rec->state == SOCKETS__STATE__GONE) && same_name(m, l) &&
		    !(m->peer && m->peer->exists))
			r = accept_at(l->fd, m, err);
	}
	if (!r)
		r = connect_waiting(s, l, err);
	if (!r)
		r = do_listen(s, l->fd, l->rec->backlog, l, err);
	return r ? r : name_settle(l, err);
}

/* The one that listened for m is gone: another takes its name for a moment. */
static int connect_alone(struct made *m, struct crcore_error *err)
{
	cleanup_close int l = socket(AF_UNIX, (int)m->rec->type | SOCK_CLOEXEC, 0);
	int r;

	if (l < 0)
		return crcore_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	r = name_bind(m, l, err);
	if (!r)
		r = do_listen(m->s, l, 1, m->peer, err);
	if (!r)
		r = accept_at(l, m, err);
	return r ? r : name_settle(m, err);
}

static int reconnect(struct made *m, struct crcore_error *err)
{
	char text[2 * sizeof(struct name)];
	struct name to = { .len = (uint8_t)m->rec->peer_name.len };
	struct sockaddr_un addr;
	socklen_t len = name_address((char *)m->rec->peer_name.data, m->rec->peer_name.len, &addr);

	memcpy(to.at, m->rec->peer_name.data, to.len);
	if (connect(m->fd, (struct sockaddr *)&addr, len) == 0)
		return 0;
	len = (socklen_t)errno;
	crcore_advise(err, "start the service there, or dump with external-unix set to close for it");
	return crcore_fail(err, -(int)len, "cannot connect it to %s again: %s", name_text(&to, text),
	                   strerror((int)len));
}

/* Nobody has connected to a name there. */
static bool is_pair(const struct made *m)
{
	return !m->exists && !(stream_like(m->rec->type) &&
	                       (m->rec->name.len || (m->peer && m->peer->rec->name.len)));
}

static int make_pairs(struct sockets *s, struct crcore_error *err)
{
	cleanup_free struct made **v = calloc(s->nmade + 1, sizeof(*v));
	unsigned n = 0;
	int r;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < s->nmade; i++) {
		struct made *m = s->made[i];
		if (is_pair(m) &&
		    !(m->peer && m->peer->rec->id < m->rec->id && is_pair(m->peer) && m->peer->peer == m))
			v[n++] = m;
	}
	r = as_pairs(s, v, n, err);
	for (unsigned i = 0; !r && i < n; i++) {
		r = name_bind(v[i], v[i]->fd, err);
		if (!r && v[i]->peer)
			r = name_bind(v[i]->peer, v[i]->peer->fd, err);
	}
	return r;
}

static int connect_rest(struct made *m, struct crcore_error *err)
{
	if (m->exists)
		return stream_like(m->rec->type) && m->rec->state == SOCKETS__STATE__RECONNECT ?
		       reconnect(m, err) : 0;
	return connect_alone(m->rec->name.len ? m : m->peer, err);
}

int connect_all(struct sockets *s, struct crcore_error *err)
{
	int r = 0;

	/* Those without a file first: it is taken away again before others want the name. */
	for (unsigned pass = 0; !r && pass < 2; pass++)
		for (unsigned i = 0; !r && i < s->nmade; i++)
			if (s->made[i]->rec->state == SOCKETS__STATE__LISTENING &&
			    s->made[i]->rec->has_file == (pass == 1)) {
				r = make_listener(s, s->made[i], err);
				if (r < 0)
					crcore_fail_at(err, -1, -1, "socket %u", s->made[i]->rec->id);
			}
	if (!r)
		r = make_pairs(s, err);
	for (unsigned i = 0; !r && i < s->nmade; i++) {
		r = connect_rest(s->made[i], err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "socket %u", s->made[i]->rec->id);
	}
	return r;
}

static int connect_to_nobody(struct made *m, struct crcore_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	cleanup_close int other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(addr);
	int fd = m->fd >= 0 ? m->fd : m->keep;

	if (other < 0 || bind(other, (struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 ||
	    getsockname(other, (struct sockaddr *)&addr, &len) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, len) < 0)
		return crcore_fail(err, -errno, "cannot connect it to a socket that closes: %s",
		                   strerror(errno));
	return 0;
}

int connect_datagrams(struct sockets *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < s->nmade; i++) {
		struct made *m = s->made[i];
		if (m->rec->type != SOCK_DGRAM || m->paired)
			continue;
		if (m->rec->state == SOCKETS__STATE__RECONNECT)
			r = reconnect(m, err);
		else if (m->rec->state == SOCKETS__STATE__GONE)
			r = connect_to_nobody(m, err);
		else if (m->peer)
			r = do_connect(m->peer, NULL, m->fd >= 0 ? m->fd : m->keep, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "socket %u", m->rec->id);
	}
	return r;
}
