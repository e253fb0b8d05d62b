/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "sockets": UNIX sockets of every type, with what waits in them.
 *
 *   sockets.c  the plugin: options, sections, claim; refuses what is no UNIX socket
 *   diag.c     one query of sock_diag for all UNIX sockets of the network namespace
 *   review.c   dump: who is connected to whom
 *   race.c     dump: refusals while the tree runs are looked at twice
 *   outside.c  dump: what becomes of a socket whose peer is outside the tree
 *   save.c     dump: records
 *   peek.c     dump: one message after the other out of a queue
 *   flight.c   dump: descriptors in flight
 *   queue.c    dump: what waits to be received; restore: sends it again
 *   options.c  both: options of SOL_SOCKET
 *   names.c    restore: binding to a name, and what is there already
 *   inherit.c  restore: sockets that are handed over to crcore
 *   load.c     restore: records, whether they make sense
 *   build.c    restore: sockets and their names; hands them out
 *   as.c       restore: as whom a connection is made
 *   connect.c  restore: connections
 *   finish.c   restore: queues, shutdowns, options, at last
 *
 * Nothing is ever received from a socket of the tree: messages are peeked, one
 * after the other by SO_PEEK_OFF, which is put back.
 */
#ifndef CRCORE_PLUGIN_SOCKETS_H
#define CRCORE_PLUGIN_SOCKETS_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "plugins/net/filter.h"
#include "plugins/net/held.h"
#include "plugins/net/record.h"
#include "sockets.pb-c.h"
#include "plugins/util.h"

/* option external-unix */
enum outside { OUTSIDE_REFUSE, OUTSIDE_CLOSE, OUTSIDE_RECONNECT, OUTSIDE_INHERIT };

/* A name: what follows sun_family. Not terminated; abstract names begin with 0. */
struct name {
	uint8_t len;
	char at[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
};
#define NAME_MAX_LEN sizeof(((struct sockaddr_un *)0)->sun_path)

/* One socket of the namespace, as sock_diag tells. */
struct diag {
	uint32_t ino, file_ino;
	uint8_t type, state, shutdown;
	bool has_peer, has_file;
	uint32_t peer;            /* inode; 0 with has_peer: closed, or not accepted */
	uint32_t rqueue, wqueue;  /* bytes; listening: waiting connections, backlog */
	struct name name;
	uint32_t *waiting;        /* listening: inodes of those who wait, 0: closed again */
	unsigned nwaiting;
};

struct graph {
	struct diag *v; /* sorted by inode */
	unsigned n;
	bool waiting;   /* there are connections that nobody has accepted */
};

/* Dump: one socket of the tree. */
struct known {
	uint32_t ino;
	const struct crcore_object *obj;
	const struct diag *d;
	Sockets__State state;
	const struct crcore_object *peer;
	uint32_t place;
	struct name peer_name; /* RECONNECT, INHERIT */
};

/* Restore: one socket. */
struct made {
	Sockets__Unix *rec;
	int fd;           /* until an object takes it, -1 */
	int keep;         /* a duplicate until everything is done, -1 */
	int other;        /* the closed peer, as long as it is needed, -1 */
	bool exists, paired;
	struct made *peer; /* by rec->peer */
	struct sockets *s;
	bool bound_file;  /* we made the file */
	bool moved;       /* what was there before is now called aside */
	char aside[PATH_MAX], path[PATH_MAX];
};
NET_MADE(struct made, Sockets__Unix);

/* Dump: a second look, before a refusal. */
struct later {
	struct net_held held;
	struct graph graph;
};

/* Dump: descriptors in flight in one socket: which objects they are. */
struct flight {
	uint32_t ino, *ids;
	unsigned n, taken;
};

struct sockets {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	const struct crcore_value *outside;

	struct graph graph;
	struct later later;
	struct flight *flights;
	unsigned nflights;
	uint32_t *refused;   /* inodes that claim has refused: no peers outside */
	unsigned nrefused;
	struct known *known; /* sorted by inode */
	unsigned nknown;
	struct net_usual usual;
	uint64_t blob_end;   /* what is in out included */
	char *buf, *out;     /* one message; what is to be written to the blob */
	size_t room, nout;
	int moved, moved_offset; /* a socket whose SO_PEEK_OFF is not its own, -1; what it was */

	struct made **made;  /* by id once checked */
	unsigned nmade;
	bool built, late, done, undo;
	unsigned lost_creds, helpers;
};

/* Dump: a look into a queue. */
#define QUEUE_ROOM (64 * 1024)
#define MAX_FDS 253 /* of one message; the kernel has the same */
struct reader {
	struct sockets *s;
	Sockets__Unix *rec;
	int fd;
	uint32_t ino;
	uint64_t seen; /* bytes peeked: the offset of the next message */
	int all;       /* bytes in it, as SIOCINQ says: of all messages, but of the first datagram */
	bool flying;   /* there are descriptors among it */
	size_t allocated;
	unsigned empty; /* messages without a byte */
	int fds[MAX_FDS]; /* what came with the last message: ours to close */
	unsigned nfds;
};

static inline bool stream_like(uint32_t type)
{
	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}
static inline void close_fd(int *fd) { if (*fd >= 0) close(*fd); *fd = -1; }

/* diag.c */
int graph_take(struct graph *, struct crcore_error *);
void graph_free(struct graph *);
const struct diag *graph_find(const struct graph *, uint32_t ino);

/* review.c */
int sockets_review(void *state, const struct crcore_object *, struct crcore_error *);
struct known *sockets_known(const struct sockets *, uint32_t ino);
/* For people: a path, "@abstract", "(unnamed)". */
const char *name_text(const struct name *, char ret[2 * sizeof(struct name)]);

/* race.c: -EAGAIN if the tree changed since it was looked at, so that a refusal would be wrong:
 * peer ino is outside the tree; own ino is in another namespace. */
int race_peer(struct sockets *, uint32_t ino, struct crcore_error *);
int race_own(struct sockets *, uint32_t ino, struct crcore_error *);
/* It is in the tree, and refused for a reason of its own. */
bool race_refused(const struct sockets *, uint32_t ino);
void race_forget(struct later *);

/* outside.c: decides about k, whose peer is outside (peer NULL: cannot be told). */
int outside_decide(struct sockets *, struct known *, const struct diag *peer,
                   struct crcore_error *);
enum outside outside_policy(const struct sockets *, const struct name *peer,
                            const struct name *own);

/* save.c */
int sockets_save(void *state, struct crcore_error *);
int sockets_save_object(void *state, const struct crcore_object *, struct crcore_error *);

/* peek.c */
int peek_next(struct reader *, Sockets__Message *, struct sockaddr_un *from); /* 1, 0: no more */
void peek_drop(struct reader *); /* closes fds */
int peek_offset(int fd, int offset);
int peek_room(struct sockets *, size_t len);

/* flight.c */
unsigned flight_count(const struct crcore_object *);
int flight_note(struct sockets *, const struct crcore_object *, struct crcore_error *);
const uint32_t *flight_take(struct sockets *, uint32_t ino, unsigned n);
void flight_free(struct sockets *);

/* queue.c */
int queue_save(struct sockets *, const struct crcore_object *, Sockets__Unix *,
               struct crcore_error *);
/* Between these SO_PEEK_OFF is not the socket's own. */
int queue_begin(struct reader *, struct crcore_error *);
int queue_end(struct reader *);
void queue_free(Sockets__Unix *);
int queue_flush(struct sockets *, struct crcore_error *);
/* Sends what waited in m: message i by fd. */
int queue_send(struct sockets *, const struct made *m, unsigned i, int fd, const struct name *to,
               off_t at, struct crcore_error *);

/* options.c */
void options_prepare(struct sockets *);
/* *ret_values: where the values in the record lie, both for free(). */
int options_save(struct sockets *, int fd, Sockets__Unix *, struct net_value **ret_values,
                 struct crcore_error *);
int options_set(int fd, const Sockets__Unix *, struct crcore_error *);

/* names.c */
socklen_t name_address(const char *at, size_t len, struct sockaddr_un *ret);
int name_check(struct made *, struct crcore_error *);
int name_bind(struct made *, int fd, struct crcore_error *);
int name_connect(const struct made *, int fd); /* to the name of made */
/* Owner, mode; or takes the file away again. */
int name_settle(struct made *, struct crcore_error *);
/* Effective ids that the kernel keeps as those of a peer; become(own) goes back. */
void become(uint32_t uid, uint32_t gid);

/* load.c */
int sockets_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *);
int sockets_check(void *state, struct crcore_error *);
struct made *sockets_made(const struct sockets *, uint32_t id);
void made_free(struct made *);

/* inherit.c */
int inherit_check(const struct made *, struct crcore_error *);
int inherit_take(struct made *, struct crcore_error *);

/* build.c */
int sockets_create(void *state, uint32_t id, struct crcore_error *);
int sockets_settle(void *state, struct crcore_error *);
int sockets_release(void *state, struct crcore_error *);
int made_socket(struct made *, struct crcore_error *);

/* as.c: fn(arg), as they (pid 0: crcore's own), or as whoever is noted in m as peer, if that can
 * be; its result. */
int as_them(struct sockets *, const struct ucred *, int (*fn)(void *arg), void *arg);
int as_peer_of(struct sockets *, const struct made *m, int (*fn)(void *arg), void *arg);
/* Makes pairs of sockets; v has one of each, or whose peer is closed. Sorts v. */
int as_pairs(struct sockets *, struct made **v, unsigned n, struct crcore_error *);

/* connect.c */
int connect_all(struct sockets *, struct crcore_error *);
int connect_datagrams(struct sockets *, struct crcore_error *);

/* finish.c */
int finish_all(struct sockets *, struct crcore_error *);
#endif
