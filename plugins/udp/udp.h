/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "udp": sockets of the Internet that have no connections, that is
 * UDP, UDP-Lite, ping (ICMP datagrams) and raw ones, of IPv4 and IPv6.
 *
 *   udp.c     the plugin: options, sections, claim
 *   save.c    dump: the record of one socket
 *   groups.c  multicast: finds memberships on dump, joins on restore
 *   queue.c   dump: what waits to be received
 *   load.c    restore: records, whether they make sense
 *   build.c   restore: sockets, names, options; hands them out
 *   inject.c  restore: puts waiting datagrams back, each as from its sender
 *
 * Nothing is received from a socket of the tree: datagrams are peeked one after
 * the other by SO_PEEK_OFF. They are put back as packets over the loopback
 * device that bear the address of the first sender, so no firewall of the way
 * in is asked twice about the outside; nothing leaves the machine.
 */
#ifndef CRCORE_PLUGIN_UDP_H
#define CRCORE_PLUGIN_UDP_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "plugins/net/filter.h"
#include "plugins/net/record.h"
#include "udp.pb-c.h"
#include "plugins/util.h"

enum queued { QUEUED_KEEP, QUEUED_DROP, QUEUED_REFUSE };
enum corked { CORKED_REFUSE, CORKED_DROP };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Restore: one socket. */
struct made {
	Udp__Socket *rec;
	int fd;          /* until an object takes it, -1 */
};
NET_MADE(struct made, Udp__Socket);

/* Dump: what is set on a socket while its queue is looked at. */
#define PEEKING_MAX 8
struct peeking {
	int fd;          /* -1: nothing is */
	int level[PEEKING_MAX], number[PEEKING_MAX], before[PEEKING_MAX];
	unsigned n;
	bool undo;       /* there is an undo entry for it */
};

struct udp {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum queued queued;
	enum corked corked;

	uint64_t netns;          /* netns_check() */
	struct net_usual usual;
	struct peeking peeking;
	uint64_t blob_end;
	struct interface_group { uint32_t index; int family; uint8_t at[16]; } *groups;
	unsigned ngroups;
	bool asked_groups;

	struct made **made;      /* by id once checked */
	unsigned nmade;
	bool built;
	int raw4, raw6;          /* what injects; -1: not open */
};

/* udp.c */
const char *udp_name(uint32_t type, uint32_t protocol); /* "UDP", ... */
static inline bool udp_is_datagram(uint32_t protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}
static inline socklen_t address_len(uint32_t family)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* save.c */
int udp_save_object(void *state, const struct crcore_object *, struct crcore_error *);

/* groups.c */
int groups_save(struct udp *, int fd, Udp__Socket *, struct crcore_error *);
void groups_free(Udp__Socket *);
int groups_join(int fd, const Udp__Socket *, struct crcore_error *);

/* queue.c */
int queue_save(struct udp *, int fd, Udp__Socket *, struct crcore_error *);
void queue_free(Udp__Socket *);

/* load.c */
int udp_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *);
int udp_check(void *state, struct crcore_error *);
void made_free(struct made *);

/* build.c */
int udp_create(void *state, uint32_t id, struct crcore_error *);

/* inject.c */
int inject_queue(struct udp *, const struct made *, struct crcore_error *);
#endif
