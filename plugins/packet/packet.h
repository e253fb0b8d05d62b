/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "packet": packet sockets, which see and send frames of interfaces.
 *
 *   packet.c   the plugin: options, sections, claim
 *   diag.c     dump: one query of sock_diag for all packet sockets
 *   save.c     dump: records
 *   ring.c     both: what is in a ring, and how far the kernel has got in it
 *   restore.c  restore: records, sockets
 *   advance.c  restore: a ring, as far as the kernel had got
 *
 * Frames that wait cannot be put back, but for those in a ring.
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
	bool has_ring, has_tx_ring;
	struct packet_diag_ring ring;
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
	uint64_t blob_end;     /* of what is in the data of section socket */
	struct diag *diags;
	unsigned ndiags;

	struct made **made;      /* by id once checked */
	unsigned nmade;
	struct mapped { uint32_t id, socket; } *mapped;
	unsigned nmapped;
};

/* A ring that is mapped whole. */
struct ring {
	Packet__Ring *rec;
	char *map;
	size_t len;
};

/* diag.c */
int diag_take(struct packet *, struct crcore_error *);
void diag_free(struct packet *);
const struct diag *diag_find(const struct packet *, uint32_t ino);
/* Of a socket that may be younger than the last query. */
bool diag_has_ring(struct packet *, uint32_t ino);

/* save.c */
int packet_review(void *state, const struct crcore_object *, struct crcore_error *);
int packet_save_object(void *state, const struct crcore_object *, struct crcore_error *);
int packet_check_socket(struct packet *, const struct crcore_object *, struct crcore_error *);

/* ring.c: rec, and whatever it points to, stays the caller's. */
uint64_t ring_length(const Packet__Ring *);
bool ring_is_sane(const Packet__Ring *);
int ring_map(struct ring *ret, Packet__Ring *rec, int fd, int prot, struct crcore_error *);
void ring_unmap(struct ring *);
struct tpacket_block_desc *ring_block(const struct ring *, unsigned i);
/* Is it the program's turn to read the frame (version 3: block)? */
bool ring_waits(const struct ring *, unsigned i);
/* A copy of the bytes (caller frees), and rec->position. drop: frames of which the program does
 * not know yet may be lost. */
int ring_take(const struct ring *, bool drop, char **ret, struct crcore_error *);
/* advance.c: gives fd the ring, with its position and these bytes in it. */
int ring_make(int fd, Packet__Ring *, const char *bytes, struct crcore_error *);

/* restore.c */
void made_free(struct made *);
int packet_load_record(void *state, const char *section, uint32_t version, const void *msg,
                       size_t len, struct crcore_error *);
int packet_check(void *state, struct crcore_error *);
int packet_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max,
                struct crcore_error *);
int packet_create(void *state, uint32_t id, struct crcore_error *);
#endif
