/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that wait to be accepted: out of a backlog, into the image, and back into a backlog.
 *
 *   backlog.c  dump: all of them
 *   halfway.c  dump: those who are not quite there
 *   accepted.c dump: one of them, taken out
 *   waiting.c  restore: all of them
 *   requeue.c  both: one of them gets back
 *   reqsk.c    both: how the kernel is told so
 *   group.c    restore: where several listen at one port
 */
#ifndef CRCORE_PLUGIN_TCP_BACKLOG_H
#define CRCORE_PLUGIN_TCP_BACKLOG_H

#include "plugins/tcp/tcp.h"

/* One of them. */
struct queued {
	struct end local, remote;
	uint32_t listener;       /* object id */
	pid_t pid;               /* dump: a task that listens there, and its descriptor */
	int fd;
	int accepted;            /* dump: ours, for now */
	bool locked;             /* dump: the network lock has it */
	uint32_t first, received; /* what was not read: the number of its first byte, how many */
	uint64_t at;             /* where they are in the blob */
	uint32_t urgent;         /* 1 + which of them is; 0: none */
	uint32_t ack;            /* the number of the first byte that is said to the peer */
	uint32_t clock;          /* TCP_TIMESTAMP */
	uint16_t window, mss;    /* window: as in a header */
	uint8_t send_scale, receive_scale;
	bool timestamps, sack, scaling, ecn;
	bool fin, reset;         /* what came last */
	bool lost;               /* dump: it cannot be kept */
};

struct reqsk { int map, link; };
struct requeue {
	int raw[2]; /* of IPv6, IPv4 */
	int blob;
	struct reqsk reqsk;
};

/* Whether connections that wait to be accepted are taken along: a tree that goes on keeps them. */
static inline bool keeps_backlog(const struct tcp *t)
{
	return t->keep_in_flight && (leaves(t) == CRCORE_LEAVE_KILLED || !leaves(t));
}

static inline bool waits_in_backlog(const struct other *o)
{
	return !o->ino && (o->state == ST_ESTABLISHED || o->state == ST_CLOSE_WAIT);
}

static inline bool link_local(const struct end *e)
{
	return e->family == AF_INET6 && e->ip[0] == 0xfe && (e->ip[1] & 0xc0) == 0x80;
}

/* reqsk.c */
/* kfunc: where to keep what they have found out: the number of a function of the kernel. */
int reqsk_possible(int *kfunc, struct crcore_error *);
int reqsk_begin(struct reqsk *ret, int *kfunc, struct crcore_error *);
void reqsk_end(struct reqsk *);
int reqsk_expect(const struct reqsk *, const struct queued *);
void reqsk_forget(const struct reqsk *, const struct queued *);
/* After a segment of it has come in: 1: it is there, and waits for that byte; 0: it is not. */
int reqsk_seen(const struct reqsk *, const struct queued *, uint32_t *ret_next);

/* requeue.c */
int requeue_begin(struct requeue *, int blob, int *kfunc, struct crcore_error *);
void requeue_end(struct requeue *);
int requeue(const struct requeue *, int listener, const struct queued *);
void requeue_reset(const struct requeue *, const struct queued *);

/* accepted.c: reads one that was just accepted, and leaves it in repair mode. at: the end of the
 * blob. What of it is known already stays. */
int accepted_read(struct queued *, int fd, int blob, uint64_t at);
void accepted_end(int fd); /* after that: without a word */
int accepted_names(int fd, struct queued *); /* both ends, if it is connected */
bool accepted_is(int fd, const struct queued *); /* that very one? */

/* halfway.c */
#define HALFWAY 32
struct halfway { /* listening sockets that do without TCP_DEFER_ACCEPT */
	unsigned n;
	struct { const struct known *k; int fd; struct meanwhile *meanwhile; } v[HALFWAY];
};
void halfway_ask(struct tcp *, struct halfway *); /* by a new graph */
void halfway_end(struct halfway *);

/* backlog.c */
struct backlog *backlog_new(void);
void backlog_free(struct backlog *);
int backlog_take(struct tcp *, struct crcore_error *);
unsigned backlog_list(const struct tcp *, const struct queued **ret); /* those that were taken */

/* group.c: whoever connects comes to this one of its group. Negative errno. */
int group_choose(int listener);
void group_as_before(int listener);

/* waiting.c */
int waiting_load(struct tcp *, const void *msg, size_t len, struct crcore_error *);
int waiting_check(struct tcp *, struct crcore_error *);
bool made_listens_at(const struct made *, const struct end *);
int waiting_fill(struct tcp *, const struct made *, struct crcore_error *);
void waiting_done(struct tcp *);
#endif
