/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "tcp": TCP sockets with their connections, by TCP_REPAIR.
 *
 *   tcp.c      the plugin: options, sections, claim
 *   address.c  addresses, text of them, the address map
 *   policy.c   what becomes of a connection whose other end is outside the tree
 *   look.c     dump: what a socket is, of all sockets, by several threads
 *   review.c   dump: which two sockets are the ends of one connection
 *   diag.c     dump: one query of sock_diag: who waits at listening sockets
 *   meanwhile.c dump: what is set on a socket for a moment
 *   read.c     dump: sequence numbers and queues of a connection
 *   bytes.c    dump: what was in queues, on its way into the image
 *   gather.c   dump: the same and options, of all sockets, by several threads
 *   save.c     dump: records
 *   urgent.c   both: urgent data; urgent_send.c: such that is still to be sent
 *   lock.c     both: the network lock, by nftables
 *   block.c    both: the same where that is missing
 *   bank.c     both: descriptors that wait
 *   backlog.h  connections that wait to be accepted: its own files
 *   silence.c  dump: the end of the tree, of which the peers must not hear
 *   load.c     restore: records, whether they make sense
 *   build.c    restore: sockets, hands them out; what comes last
 *   repair.c   restore: connections
 *   ends.c     restore: connections that are closed, half or whole, or being made
 *   inject.c   restore: segments that say what a peer has said already
 *   resend.c   restore: what was sent and may not have arrived
 *
 * A socket of the tree is in repair mode only for the microseconds in which its
 * numbers are read: a task could neither read nor write one that is left in it.
 */
#ifndef CRCORE_PLUGIN_TCP_H
#define CRCORE_PLUGIN_TCP_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "plugins/net/held.h"
#include "plugins/net/record.h"
#include "tcp.pb-c.h"
#include "plugins/util.h"

/* Options of level TCP that the C library's headers may lack. */
#define T_MAXSEG 2
#define T_CORK 3
#define T_INFO 11
#define T_REPAIR 19
#define T_REPAIR_QUEUE 20
#define T_QUEUE_SEQ 21
#define T_REPAIR_OPTIONS 22
#define T_TIMESTAMP 24
#define T_REPAIR_WINDOW 29
#define T_ULP 31
enum { QUEUE_NONE, QUEUE_RECEIVE, QUEUE_SEND }; /* T_REPAIR_QUEUE */
enum { REPAIR_OFF_SILENT = -1, REPAIR_OFF, REPAIR_ON };

enum { ST_ESTABLISHED = 1, ST_SYN_SENT, ST_SYN_RECV, ST_FIN_WAIT1, ST_FIN_WAIT2, ST_TIME_WAIT,
       ST_CLOSE, ST_CLOSE_WAIT, ST_LAST_ACK, ST_LISTEN, ST_CLOSING };

/* An end of a connection. Compared as a whole: unused bytes are 0. v4-mapped is AF_INET6. */
struct end {
	uint16_t family; /* 0: none */
	uint16_t port;   /* host order */
	uint32_t scope;
	uint8_t ip[16];
};
enum verdict { KEEP, CLOSE, RESET, REFUSE };

/* Dump: one socket of the tree. */
struct known {
	uint32_t ino;
	const struct crcore_object *obj; /* until the end of save */
	pid_t pid;
	int fd, pidfd;           /* of a task that holds it */
	struct end local, remote;
	uint8_t state;           /* ST_* */
	bool hung_up, error;     /* POLLRDHUP, POLLERR */
	bool was_connected;      /* ST_CLOSE */
	bool sends;              /* something, that its peer has not acknowledged */
	bool incoming;
	bool v6only, device;     /* ST_LISTEN; device: at one only */
	uint32_t backlog, waiting; /* ST_LISTEN: how many may wait, how many do */
	bool unaccepted;         /* its other end waits in a backlog of the tree, and is made anew */
	bool waited;             /* the same, but that is kept */
	struct known *peer;
	enum verdict verdict;    /* of connections: REFUSE only meanwhile */
	/* what was read from it: */
	Tcp__Stream stream;
	Tcp__Queues queues;
	uint32_t to_send, received; /* the first number not acknowledged, the next one to come */
	bool read;
	struct net_value *options; /* in which it differs from a new socket */
	unsigned noptions;
	struct net_buffers buffers;
	int user_mss;
	uint64_t *filter;
	size_t nfilter;
	bool filter_locked, failed; /* failed: it cannot be saved, or it, or its peer, not be read */
	struct crcore_error *failure;
};

struct tcp_window { uint32_t wl1, send, max, receive, wup; };

/* Any socket of the network namespace, as sock_diag tells. */
struct other {
	struct end local, remote;
	uint32_t ino;      /* 0: no process holds it */
	uint32_t received; /* bytes that wait in it */
	uint8_t state;
};
struct graph {
	struct other *v;   /* sorted by both ends */
	unsigned n;
	bool taken;
	struct net_held held;
};

/* Restore: one socket. */
struct made {
	Tcp__Socket *rec;
	struct made *peer;
	struct end local, remote;
	int fd;                  /* ours until handed out */
	bool made, given, repair;
	enum verdict verdict;
	uint32_t una;            /* first byte of the send queue */
	uint32_t skip;           /* bytes of the send queue that the peer has already */
};

NET_MADE(struct made, Tcp__Socket);

/* A rule of an option: a pattern and what it says. */
struct rule {
	int way;                 /* 0: any, 1: in, 2: out */
	struct pattern { bool any_ip; struct end end; uint8_t bits; } local, remote;
	enum verdict verdict;
};

struct mapping { struct end from, to; uint8_t bits; };

struct lock;
struct block;
struct meanwhile;
struct bank;
struct backlog;
struct queued;
struct requeue;
struct locked {
	struct end local, remote; /* remote without a port: those who want to connect there */
	bool v6only;
};
struct lock_list { struct locked *v; unsigned n; };
#define LOCK_NAME 32
#define LOCK_MARK 0x6372746eu /* of segments that the lock lets pass: inject.c */

struct tcp {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum verdict established; /* where no rule matches */
	bool drop_in_flight, keep_in_flight;
	bool hold_listening;
	struct rule *rules;
	unsigned nrules;
	struct mapping *map;
	unsigned nmap;
	uint64_t netns;          /* netns_check() */
	struct net_usual usual;

	struct known *known;     /* sorted by inode once reviewed */
	unsigned nknown;
	bool reviewed;           /* a claim begins another look */
	struct known **by_tuple;
	unsigned ntuples;
	uint8_t listening[65536 / 8]; /* ports, a bit each */
	struct graph graph, making; /* if needed; making: only those that are being made */
	bool gathered, blind;    /* blind: there can be no peek */
	pthread_mutex_t shared;  /* bytes and peek, while several threads read */
	struct bytes { int blob; char *buf; size_t used; uint64_t end; } bytes;
	struct meanwhile *meanwhile;
	struct peek *peek;       /* once there was something to send */
	struct backlog *backlog; /* if it is kept */
	bool may_requeue;        /* reqsk_possible() has said so ... */
	int kfunc;               /* ... and found this */
	struct lock *lock;
	int low[2];              /* small numbers, kept for lock.c */
	struct bank *bank;       /* sockets, for the end of the tree; for that of the restore */
	bool *reset;             /* for each there: its peer is to see a reset */
	unsigned nreset;
	bool failed;
	pid_t worker;            /* who does what comes at the end, or else its heir */

	struct made **made;      /* by id once checked */
	unsigned nmade;
	bool built;
	struct made **banked;    /* whose sockets are in the bank */
	unsigned nbanked;
	char *old_table;         /* section lock */
	struct queued *waits;    /* section backlog */
	unsigned nwaits;
	struct requeue *requeue;
	int raw[2];              /* of IPv6, IPv4: -1 until needed */
	uint32_t nowhere;        /* counts peers that never were */
};

static inline void close_fd(int *fd) { if (*fd >= 0) close(*fd); *fd = -1; }

static inline int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static inline int get_int(int fd, int level, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) < 0 ? -errno : value;
}

static inline int set_repair(int fd, int mode) { return set_int(fd, IPPROTO_TCP, T_REPAIR, mode); }
static inline int set_queue(int fd, int q) { return set_int(fd, IPPROTO_TCP, T_REPAIR_QUEUE, q); }

/* tcp.c: fn is called at the end if all has gone well, whatever becomes of this process. */
int tcp_at_end(struct tcp *, void (*fn)(void *), struct crcore_error *);

/* address.c */
void end_from(const struct sockaddr *, struct end *ret);
socklen_t end_to(const struct end *, struct sockaddr_storage *ret);
#define END_TEXT 80
const char *end_text(const struct end *, char buf[END_TEXT]);
int end_compare(const struct end *, const struct end *); /* v4-mapped is as v4 */
bool end_is_v4(const struct end *);       /* also v4-mapped */
const uint8_t *end_v4(const struct end *); /* the 4 bytes of such a one */
bool end_any(const struct end *);          /* 0.0.0.0, :: */
bool end_parse(const char *text, struct end *ret, uint8_t *ret_bits); /* ADDRESS[/BITS] */
bool end_within(const struct end *, const struct end *net, uint8_t bits);
int map_parse(struct tcp *, struct crcore_error *);
void map_apply(const struct tcp *, struct end *);

/* policy.c */
int policy_parse(struct tcp *, struct crcore_error *);
enum verdict policy_find(const struct tcp *, const struct end *local, const struct end *remote,
                         bool incoming);

/* look.c: fills in what it says of each, in all that have an object. */
void tcp_look(struct tcp *);

/* review.c */
int tcp_review(void *state, const struct crcore_object *, struct crcore_error *);
struct known *tcp_known(const struct tcp *, uint32_t ino);
bool listens_at(const struct tcp *, const struct end *local); /* the tree, at this port */
static inline bool state_connected(uint8_t s)
{
	return s == ST_ESTABLISHED || s == ST_FIN_WAIT1 || s == ST_FIN_WAIT2 || s == ST_CLOSE_WAIT ||
	       s == ST_LAST_ACK || s == ST_CLOSING;
}
int review_backlogs(struct tcp *, struct crcore_error *); /* once more, with the lock up */
/* A descriptor of it in this process; the second one is the host's, if that has one. */
int known_open(struct tcp *, const struct known *, struct crcore_error *);
int known_borrow(struct tcp *, const struct known *, struct crcore_error *);
void known_return(const struct known *, int fd);

/* diag.c */
#define GRAPH_ALL (~0u & ~(1u << ST_TIME_WAIT) & ~(1u << ST_LISTEN) & ~(1u << ST_CLOSE))
int graph_take(struct graph *, uint32_t states, struct crcore_error *); /* once */
void graph_free(struct graph *);
const struct other *graph_find(const struct graph *, const struct end *local,
                               const struct end *remote);
/* 1: a task of the tree holds it by now, whatever was seen before; 0: none. */
int graph_in_tree(struct tcp *, uint32_t ino, struct crcore_error *);

/* gather.c */
int tcp_gather(struct tcp *, struct crcore_error *); /* once */
/* After that: the value of an option, usual if it is as in a new socket. */
int known_value(const struct known *, int level, int number, int usual);
void known_free(struct known *);
/* Why one is failed: noted by a thread, and told by the hook that is asked for it. */
void known_failed(struct known *, const struct crcore_error *why);
int known_tell(const struct known *, struct crcore_error *);

/* read.c */
struct reader { /* one thread's */
	struct tcp *t;
	struct meanwhile *meanwhile;
	char *room;
	size_t size;
};
/* What a socket has in its queues, if that is kept, and its other end if that is in the tree
 * (other >= 0). */
int read_connection(struct reader *, struct known *, int fd, int other, struct crcore_error *);
int repair_number(int fd, int queue, uint32_t *ret); /* in repair mode */

/* bytes.c */
int bytes_begin(struct tcp *, struct crcore_error *);
int bytes_put(struct tcp *, const void *, size_t len, uint64_t *ret_at); /* where they will be */
int bytes_fail(int r, struct crcore_error *);
int bytes_flush(struct tcp *, struct crcore_error *);

/* meanwhile.c */
struct meanwhile *meanwhile_new(void);
void meanwhile_free(struct meanwhile *);
int meanwhile_begin(struct tcp *, struct crcore_error *); /* before the first of them */
/* One for each thread, for one socket after the other. */
struct meanwhile *meanwhile_take(struct tcp *);
void meanwhile_leave(struct meanwhile *);
void meanwhile_of(struct meanwhile *, const struct known *, int fd);
/* Sets an option of that socket; own is what it is to be afterwards. */
int meanwhile_set(struct meanwhile *, int level, int number, int value, int own);
void meanwhile_note(struct meanwhile *, int level, int number, int own); /* it will by itself */
void meanwhile_back(struct meanwhile *); /* the last one first */

/* save.c */
Tcp__Address *address_record(const struct end *, Tcp__Address *ret); /* NULL: there is none */
int tcp_save_object(void *state, const struct crcore_object *, struct crcore_error *);
int tcp_save(void *state, struct crcore_error *err);

/* lock.c */
int lock_possible(struct tcp *, struct crcore_error *);
int lock_ready(struct tcp *, struct crcore_error *); /* it goes after what is undone later */
/* While we live; in place of the one that is there, without a gap. */
int lock_take(struct tcp *, const struct lock_list *, struct crcore_error *);
int lock_stay(struct tcp *, const struct lock_list *, struct crcore_error *);  /* beyond */
int lock_remove(struct tcp *, const char *table, struct crcore_error *);
bool lock_is_name(const char *table); /* might it be ours? */
const char *lock_name(const struct tcp *); /* NULL: there is no lock */
void lock_drop(void *state);
void lock_free(struct tcp *);

/* silence.c */
int tcp_hold(void *state, struct crcore_error *err);
/* With room for more. */
int list_locked(struct tcp *, unsigned more, struct lock_list *ret, struct crcore_error *);
int tcp_dump_release(struct tcp *, struct crcore_error *);
static inline uint32_t leaves(const struct tcp *t)
{
	return CRCORE_HAS(t->host, leave) ? t->host->leave(t->ctx) : (uint32_t)CRCORE_LEAVE_KILLED;
}

/* Where the send queue began when its connection was made anew: a FIN that is acknowledged
 * has to be sent once more. */
static inline uint32_t first_to_send(const struct made *m)
{
	return m->una - (m->una == m->rec->stream->send_next + 1);
}

/* load.c */
int tcp_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *);
int tcp_check(void *state, struct crcore_error *);
int tcp_prepare(void *state, struct crcore_error *);
void made_free(struct made *);
bool end_load(const Tcp__Address *, uint32_t family, struct end *ret);
bool stream_sane(const Tcp__Stream *);
int blob_has(struct tcp *, uint64_t end, struct crcore_error *); /* is it that long? */

/* build.c */
int tcp_create(void *state, uint32_t id, struct crcore_error *);
int tcp_restore_release(struct tcp *, struct crcore_error *);
int made_socket(struct tcp *, struct made *, struct crcore_error *);
int made_bind(struct made *, struct crcore_error *);

/* repair.c */
int repair_connect(struct tcp *, struct made *, struct crcore_error *);
/* The numbers: of the first byte received and of the next one to be sent. */
int repair_receive(struct tcp *, struct made *, uint32_t first, uint32_t, struct crcore_error *);
int repair_send(struct tcp *, struct made *, struct crcore_error *);
int repair_sequence(int fd, int queue, uint32_t seq);

/* urgent.c, urgent_send.c */
int urgent_supported(struct crcore_error *);
/* Dump: how many bytes wait, and how many of them before the mark (as many: there is none). */
int urgent_count(struct reader *, const struct known *, int fd, int *ret_all, int *ret_mark);
/* Dump: the bytes from a place on, as they were sent; as many as come at once. */
ssize_t urgent_peek(struct reader *, const struct known *, int fd, void *, size_t len, size_t from);
void urgent_prepare(struct tcp *, int fd); /* what the next one needs */
/* Dump: how many of len bytes, the first of that number, are up to the urgent mark; 0: none. */
uint32_t urgent_to_send(struct tcp *, int fd, uint32_t first, uint32_t len);
/* Restore: one byte more is received, which is urgent. */
int urgent_put(struct tcp *, const struct made *, uint8_t byte, uint32_t seq, uint32_t ack,
               struct crcore_error *);

/* ends.c */
int ends_peer_first(struct tcp *, struct made *, struct crcore_error *);
int ends_peer_last(struct tcp *, struct made *, struct crcore_error *);
int ends_closed(struct tcp *, struct made *, struct crcore_error *);
int ends_refused(struct tcp *, struct made *, struct crcore_error *);
int ends_waiting(struct tcp *, struct made *, struct crcore_error *);
int ends_connecting(struct tcp *, struct made *, struct crcore_error *);
#endif
