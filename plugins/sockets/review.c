/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: who is connected to whom, by the inodes that sock_diag gives. A socket
 * whose peer has no inode is one whose peer is closed, unless some listening
 * socket has it among those that wait to be accepted.
 */
#include "sockets.h"

#define LISTEN_STATE 10 /* TCP_LISTEN */

static int by_inode(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

struct known *sockets_known(const struct sockets *s, uint32_t ino)
{
	struct known key = { .ino = ino };

	return s->nknown ? bsearch(&key, s->known, s->nknown, sizeof(key), by_inode) : NULL;
}

const char *name_text(const struct name *n, char ret[2 * sizeof(struct name)])
{
	int len = n->len;

	if (!len)
		strcpy(ret, "(unnamed)");
	else if (n->at[0])
		snprintf(ret, 2 * sizeof(*n), "%.*s", len, n->at);
	else
		snprintf(ret, 2 * sizeof(*n), "@%.*s", len - 1, n->at + 1);
	return ret;
}

static int list_sockets(struct sockets *s, struct crcore_error *err)
{
	const struct crcore_object *obj;
	unsigned n = 0;
	int r;

	race_forget(&s->later);
	r = graph_take(&s->graph, err);

	if (r < 0)
		return r;
	while (s->host->object(s->ctx, n))
		n++;
	free(s->known);
	s->nknown = 0;
	s->known = calloc(n + 1, sizeof(*s->known));
	if (!s->known)
		return crcore_no_memory(err);
	for (; s->nknown < n && (obj = s->host->object(s->ctx, s->nknown)); s->nknown++)
		s->known[s->nknown] = (struct known){ .ino = (uint32_t)obj->st.st_ino, .obj = obj,
			.d = graph_find(&s->graph, (uint32_t)obj->st.st_ino) };
	qsort(s->known, s->nknown, sizeof(*s->known), by_inode);
	options_prepare(s);
	return 0;
}

/* The listening socket that has it in its backlog. */
static const struct diag *find_listener(const struct graph *g, uint32_t ino, uint32_t *ret_place)
{
	for (unsigned i = 0; g->waiting && i < g->n; i++)
		for (unsigned w = 0; w < g->v[i].nwaiting; w++)
			if (g->v[i].waiting[w] == ino) {
				*ret_place = w;
				return &g->v[i];
			}
	return NULL;
}

static int judge_outside(struct sockets *s, struct known *k, uint32_t peer,
                         struct crcore_error *err)
{
	int r;

	if (race_refused(s, peer))
		return 0;
	r = race_peer(s, peer, err);
	return r < 0 ? r : outside_decide(s, k, graph_find(&s->graph, peer), err);
}

static int judge_waiting(struct sockets *s, struct known *k, const struct diag *listener,
                         struct crcore_error *err)
{
	const struct known *peer = sockets_known(s, listener->ino);

	if (!peer)
		return judge_outside(s, k, listener->ino, err);
	k->state = SOCKETS__STATE__WAITING;
	k->peer = peer->obj;
	if (!k->d->wqueue)
		return 0;
	crcore_advise(err, "dump when the listening socket has accepted it");
	return crcore_fail(err, -ENOTSUP, "it has sent data to a socket that nobody has accepted yet; "
	                   "that cannot be saved");
}

static int judge_listening(struct sockets *s, struct known *k, struct crcore_error *err)
{
	int r;

	k->state = SOCKETS__STATE__LISTENING;
	for (unsigned i = 0; i < k->d->nwaiting; i++) {
		const struct name none = { 0 };
		if (k->d->waiting[i] && sockets_known(s, k->d->waiting[i]))
			continue;
		if (outside_policy(s, &none, &k->d->name) == OUTSIDE_CLOSE)
			continue;
		if (k->d->waiting[i] && race_refused(s, k->d->waiting[i]))
			continue;
		if (k->d->waiting[i] && (r = race_peer(s, k->d->waiting[i], err)) < 0)
			return r;
		crcore_advise(err, "dump when it has been accepted, or have it closed: set external-unix "
		              "of the plugin sockets to close for this path");
		if (!k->d->waiting[i])
			return crcore_fail(err, -ENOTSUP, "a connection whose client is gone already waits to "
			                   "be accepted");
		return crcore_fail(err, -ENOTSUP, "a connection of a process outside the tree waits to be "
		                   "accepted");
	}
	return 0;
}

static int judge(struct sockets *s, struct known *k, struct crcore_error *err)
{
	const struct diag *d = k->d, *listener;
	const struct known *peer;

	k->state = SOCKETS__STATE__UNCONNECTED;
	if (d->state == LISTEN_STATE)
		return judge_listening(s, k, err);
	if (!d->has_peer)
		return 0;
	if (d->peer) {
		peer = sockets_known(s, d->peer);
		if (!peer || !peer->d)
			return judge_outside(s, k, d->peer, err);
		k->state = SOCKETS__STATE__CONNECTED;
		k->peer = peer->obj;
		if (stream_like(d->type) || peer->d->peer == d->ino || peer->d->name.len)
			return 0;
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "it sends to a socket that has no name and sends "
		                   "elsewhere");
	}
	listener = stream_like(d->type) ? find_listener(&s->graph, d->ino, &k->place) : NULL;
	if (listener)
		return judge_waiting(s, k, listener, err);
	k->state = SOCKETS__STATE__GONE;
	return 0;
}

int sockets_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct sockets *s = state;
	struct known *k;
	int r;

	if (obj == s->host->object(s->ctx, 0) && (r = list_sockets(s, err)) < 0)
		return r;
	k = sockets_known(s, (uint32_t)obj->st.st_ino);
	if (k && !k->d && (r = race_own(s, k->ino, err)) < 0)
		return r;
	if (!k || !k->d) {
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
		crcore_advise(err, "run crcore in the network namespace of the task");
		return crcore_fail(err, -ENOTSUP, "it is not in crcore's network namespace");
	}
	r = judge(s, k, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
