/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets that the tasks hold by now. A tree may still run while it is looked
 * at: what it has got since its descriptors were listed is not outside of it.
 */
#ifndef CRCORE_PLUGIN_NET_HELD_H
#define CRCORE_PLUGIN_NET_HELD_H

#include <crcore/plugin.h>
#include <stdbool.h>

struct net_held {
	bool taken;
	uint32_t *v; /* inodes, sorted */
	unsigned n;
};

/* Reads all descriptors of the tree, once. */
int net_held_take(struct net_held *, const struct crcore_host *, struct crcore_ctx *,
                  struct crcore_error *);
bool net_held_has(const struct net_held *, uint32_t ino);
void net_held_free(struct net_held *);
#endif
