/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "netlink": netlink sockets with their ports and groups.
 *
 *   netlink.c  the plugin: options, sections, claim
 *   save.c     dump: records
 *   restore.c  restore: records, sockets
 *
 * What waits in one cannot be put back: it came from the kernel, and nobody
 * else can send in its name.
 */
#ifndef CRCORE_PLUGIN_NETLINK_H
#define CRCORE_PLUGIN_NETLINK_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "plugins/net/filter.h"
#include "plugins/net/record.h"
#include "netlink.pb-c.h"
#include "plugins/util.h"

#define GROUPS_MAX 4096

/* Restore: one socket. */
struct made {
	Netlink__Socket *rec;
};
NET_MADE(struct made, Netlink__Socket);

struct netlink {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	bool drop;             /* option queued */
	uint64_t netns;        /* netns_check() */
	struct net_usual usual;

	struct made **made;      /* by id once checked */
	unsigned nmade;
};

/* save.c */
int netlink_check_socket(const struct netlink *, int fd, struct crcore_error *);
int netlink_save_object(void *state, const struct crcore_object *, struct crcore_error *);

/* restore.c */
void made_free(struct made *);
int netlink_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *);
int netlink_check(void *state, struct crcore_error *);
int netlink_create(void *state, uint32_t id, struct crcore_error *);
#endif
