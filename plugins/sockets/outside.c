/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: a socket whose peer is outside the tree. The option external-unix says
 * what becomes of it, by the name of the peer or, if that has none, of the
 * socket itself (a server whose client is outside).
 */
#include "sockets.h"

#include <fnmatch.h>

enum outside outside_policy(const struct sockets *s, const struct name *peer,
                            const struct name *own)
{
	const char *const *list = s->outside->list;
	char text[2 * sizeof(struct name)];

	if (peer->len)
		name_text(peer, text);
	else if (own->len)
		name_text(own, text);
	else
		text[0] = '\0';
	for (unsigned i = 0; list && list[i]; i += 2) {
		if (fnmatch(list[i], text, 0) != 0)
			continue;
		return !strcmp(list[i + 1], "close")       ? OUTSIDE_CLOSE
		       : !strcmp(list[i + 1], "reconnect") ? OUTSIDE_RECONNECT
		       : !strcmp(list[i + 1], "inherit")   ? OUTSIDE_INHERIT
		                                           : OUTSIDE_REFUSE;
	}
	return OUTSIDE_REFUSE;
}

static int refuse(const struct known *k, const struct name *peer, struct crcore_error *err)
{
	char text[2 * sizeof(struct name)], own[2 * sizeof(struct name)];

	name_text(peer, text);
	name_text(&k->d->name, own);
	if (peer->len) {
		crcore_advise(err, "set --set 'sockets.external-unix+=%s=reconnect' (or =close: it then "
		              "looks closed by the peer)", text);
		return crcore_fail(err, -ENOTSUP, "it is connected to %s, which is outside the tree", text);
	}
	crcore_advise(err, "dump a tree with both ends in it, or set --set "
	              "'sockets.external-unix+=%s=close' (it then looks closed by the peer)",
	              k->d->name.len ? own : "*");
	return crcore_fail(err, -ENOTSUP, "its peer, a socket without a name, is outside the tree%s%s",
	                   k->d->name.len ? "; it itself is " : "", k->d->name.len ? own : "");
}

static int inherit(struct known *k, const struct name *peer, struct crcore_error *err)
{
	if (k->d->rqueue) {
		crcore_advise(err, "dump when it has been read, or set external-unix to close for it");
		return crcore_fail(err, -ENOTSUP, "%u bytes wait in it, which the socket that is to take "
		                   "its place would not have", k->d->rqueue);
	}
	k->state = SOCKETS__STATE__INHERIT;
	k->peer_name = *peer;
	return 0;
}

static int reconnect(struct known *k, const struct name *peer, struct crcore_error *err)
{
	if (!peer->len) {
		crcore_advise(err, "have it closed: set external-unix of the plugin sockets to close for "
		              "it");
		return crcore_fail(err, -ENOTSUP, "its peer outside the tree has no name to connect to "
		                   "again");
	}
	if (peer->at[0] && peer->at[0] != '/') {
		crcore_advise(err, "have it closed: set external-unix of the plugin sockets to close for "
		              "it");
		return crcore_fail(err, -ENOTSUP, "the name of its peer outside the tree is a relative "
		                   "path");
	}
	if (stream_like(k->d->type) && k->d->rqueue) {
		crcore_advise(err, "dump when it has been read, or set external-unix to close for it");
		return crcore_fail(err, -ENOTSUP, "%u bytes of its old connection wait in it, which a new "
		                   "one would not have", k->d->rqueue);
	}
	k->state = SOCKETS__STATE__RECONNECT;
	k->peer_name = *peer;
	return 0;
}

int outside_decide(struct sockets *s, struct known *k, const struct diag *peer,
                   struct crcore_error *err)
{
	const struct name none = { 0 }, *name = peer ? &peer->name : &none;

	switch (outside_policy(s, name, &k->d->name)) {
	case OUTSIDE_CLOSE:
		k->state = SOCKETS__STATE__GONE;
		return 0;
	case OUTSIDE_RECONNECT:
		return reconnect(k, name, err);
	case OUTSIDE_INHERIT:
		return inherit(k, name, err);
	default:
		return refuse(k, name, err);
	}
}
