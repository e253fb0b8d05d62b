/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "packet": packet sockets, which see and send frames of interfaces.
 *
 *   packet.c   the plugin: options, sections, claim
 *   diag.c     dump: one query of sock_diag for all packet sockets
 *   save.c     dump: records
 *   restore.c  restore: records, sockets
 *
 * Frames that wait cannot be put back, nor can rings that are mapped.
 */
#ifndef CRCORE_PLUGIN_PACKET_H
#define CRCORE_PLUGIN_PACKET_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/packet_diag.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "plugins/net/filter.h"
#include "plugins/net/record.h"
#include "packet.pb-c.h"
#include "plugins/util.h"

#define MEMBERS_MAX 1024
#define ADDRESS_MAX 32 /* MAX_ADDR_LEN of the kernel */

/* One socket of the namespace, as sock_diag tells. */
struct diag {
	uint32_t ino;
	uint32_t copy_threshold;
	bool ring;
	struct packet_diag_mclist *members;
	unsigned nmembers;
};

/* Restore: one socket. */
struct made {
	Packet__Socket *rec;
};
NET_MADE(struct made, Packet__Socket);

struct packet {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	bool drop;             /* option queued */
	uint64_t netns;        /* netns_check() */
	struct net_usual usual;
	struct diag *diags;
	unsigned ndiags;

	struct made **made;      /* by id once checked */
	unsigned nmade;
};

/* diag.c */
int diag_take(struct packet *, struct crcore_error *);
void diag_free(struct packet *);
const struct diag *diag_find(const struct packet *, uint32_t ino);

/* save.c */
int packet_review(void *state, const struct crcore_object *, struct crcore_error *);
int packet_save_object(void *state, const struct crcore_object *, struct crcore_error *);
int packet_check_socket(const struct packet *, int fd, struct crcore_error *);

/* restore.c */
void made_free(struct made *);
int packet_load_record(void *state, const char *section, uint32_t version, const void *msg,
                       size_t len, struct crcore_error *);
int packet_check(void *state, struct crcore_error *);
int packet_create(void *state, uint32_t id, struct crcore_error *);
#endif
