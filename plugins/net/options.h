/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of sockets, of every level, for all plugins that save sockets. One
 * table says which there are and when they are set again; values are read back
 * from the kernel, and only those that differ from a new socket of the same
 * sort are kept. So an option that the kernel lacks, or that the socket does
 * not take, costs nothing and needs no entry of its own.
 *
 * Not in the table, because they are no plain values: sizes of buffers (below),
 * filters, memberships of groups, and what only shows the socket's state.
 */
#ifndef CRCORE_PLUGIN_NET_OPTIONS_H
#define CRCORE_PLUGIN_NET_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_VALUE_MAX 128

enum net_when {
	NET_EARLY = 1, /* on a new socket, before it has a name or a connection */
	NET_LATE = 2,  /* when all else of it is as it was */
	NET_BOTH = 3,
};

struct net_value {
	int level, number;
	uint32_t len;
	char data[NET_VALUE_MAX];
};

/* What a new socket has, for each sort of socket seen so far. All zero at first. */
struct net_usual {
	struct net_sort *sorts;
	struct inside *inside;
	bool blind; /* there can be none */
};
void net_usual_free(struct net_usual *);

/* Options are many, a call of the kernel each. That so many of a sort will be read is worth
 * knowing before, and while the tree runs: what takes a few milliseconds may then spare most of
 * these calls (learn.h). Not while another thread reads. */
#define NET_MANY 200
void net_options_many(struct net_usual *, int family, int type, int protocol);

/* The options in which fd differs from a new socket of its sort: allocates *ret. */
int net_options_read(struct net_usual *, int fd, int family, int type, int protocol,
                     struct net_value **ret, unsigned *ret_n);
/* When to set one; 0: there is none such (an image is not to be trusted). */
unsigned net_option_when(int level, int number);
/* "TCP_NODELAY", or "option 1 of level 6". For people: one static buffer of the caller. */
const char *net_option_name(int level, int number, char buf[40]);

/* Buffers, as getsockopt tells them (twice what was asked for), and SO_BUF_LOCK. */
struct net_buffers {
	uint32_t send, receive, lock;
};
void net_buffers_read(int fd, struct net_buffers *ret);
int net_buffers_set(int fd, const struct net_buffers *);
/* Only one of the two, at least that large; for the time in which queues are filled. */
int net_buffer_room(int fd, bool send, uint32_t bytes);
#endif
