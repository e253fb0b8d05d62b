/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the tree may still run while it is looked at. A socket that it accepted
 * since its descriptors were listed is no peer outside, and one that it closed
 * since then is in no other namespace. Before such a refusal the descriptors
 * of the tree are read once more, and the sockets of the namespace too; if it
 * was that, the look is repeated (-EAGAIN).
 */
#include "sockets.h"

static int look_again(struct sockets *s, struct crcore_error *err)
{
	int r;

	if (s->later.held.taken)
		return 0;
	r = net_held_take(&s->later.held, s->host, s->ctx, err);
	return r < 0 ? r : graph_take(&s->later.graph, err);
}

static bool held(const struct sockets *s, uint32_t ino)
{
	return net_held_has(&s->later.held, ino);
}

static int again(struct crcore_error *err)
{
	return crcore_fail(err, -EAGAIN, "the tree changes while it is looked at");
}

bool race_refused(const struct sockets *s, uint32_t ino)
{
	for (unsigned i = 0; i < s->nrefused; i++)
		if (s->refused[i] == ino)
			return true;
	return false;
}

int race_peer(struct sockets *s, uint32_t ino, struct crcore_error *err)
{
	int r = look_again(s, err);

	if (r < 0)
		return r;
	if (held(s, ino) || (graph_find(&s->graph, ino) && !graph_find(&s->later.graph, ino)))
		return again(err);
	return 0;
}

int race_own(struct sockets *s, uint32_t ino, struct crcore_error *err)
{
	int r = look_again(s, err);

	return r < 0 ? r : held(s, ino) && !graph_find(&s->later.graph, ino) ? 0 : again(err);
}

void race_forget(struct later *l)
{
	graph_free(&l->graph);
	net_held_free(&l->held);
}
