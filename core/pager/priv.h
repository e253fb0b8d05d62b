/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pager, inside. One thread (serve.c) reads what the kernel says: faults, which it answers
 * at once, and events, which are what programs do with their memory (copy, move, drop it).
 * Others (load.c) copy what nobody has asked for yet.
 *
 * What must never happen is that bytes go to an address that means something else by now. The
 * kernel helps: from the moment at which a program changes its memory until we have read the
 * event of it, it refuses to copy (EAGAIN). We do the rest: an event is read and taken account
 * of under a lock (events) without which nobody copies.
 *
 * Should the process be killed, the one that stands by (standby.c) knows all that it knew: it is
 * a copy of it from an earlier time, and each event since is in memory that both see (journal),
 * where the kernel itself wrote it. Faults that were read and not answered are woken, and come
 * again. What is loaded already the kernel knows (EEXIST).
 */
#ifndef CRCORE_PAGER_PRIV_H
#define CRCORE_PAGER_PRIV_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include "core/pager/order.h"
#include "core/pager/pager.h"
#include "core/pager/places.h"
#include "core/util/util.h"

/* An address space, as far as it concerns us. */
struct view {
	struct places lacks;
	struct places watched; /* all that the kernel tells us of; val: says nothing */
	struct places shared;  /* what of it is of segments; val: where we have that (shared.c) */
};

/* What a program did with its memory. */
struct change {
	unsigned kind;         /* UFFD_EVENT_* */
	uint64_t start, end;   /* what of it */
	uint64_t to;           /* moved: where to */
	unsigned number, batch; /* batch: of what was read in one call */
	unsigned told; /* moved: the batch with the last that its thread had to tell; 0: not yet */
	struct note *note;     /* of it */
	int child;             /* forked: its descriptor, */
	struct view *view;     /* what it has, */
	uint64_t since;        /* and when it was told */
};

struct space {
	int uffd;              /* -1: over, or not here yet */
	struct view view;
	struct change *held; unsigned nheld;   /* cannot be yet: another must have been before */
	struct change *moves; unsigned nmoves; /* whose old place was not told of yet */
	unsigned nchanges;
	struct places huge;    /* to be made of huge pages when it is over; val: says nothing */
	int pidfd;             /* for that; -1: of a child */
	atomic_bool gone;      /* its program has ended or called exec */
	struct segment *segment; /* NULL: it is of a program */
};

/* Pages of the image, each block checked when it is first read. Any thread. */
struct source {
	struct pages *pages;
	bool verify;
	uint8_t *checked;     /* of each page: a block starts here and is right */
};

#define NOTES 32768
#define NOTES_AT_ONCE 16
#define NOTES_SPARE 1024 /* enough that whoever looks first finds room then */
enum { /* besides the kernel's events */
	NOTE_OVER = 0xff,     /* the descriptor of the space is closed */
	NOTE_QUIET = 0xfe,    /* all changes to it so far were read */
	NOTE_TIME = 0xfd,     /* its children have waited long enough */
};
#define OLDER_KNOWN (1u << 31)
struct note {
	uint32_t space, batch;
	uint32_t older;       /* done before which of the children that wait were forked; bits */
	struct uffd_msg msg;
};
struct journal {
	atomic_uint n;        /* notes so far; behind them what is being read */
	atomic_bool done;     /* the pager ends because all is done */
	struct note v[NOTES];
};

struct fault { uint32_t space; uint64_t addr; };
struct victim { pid_t pid; unsigned long long started; };

struct state {
	struct pager_setup setup;
	struct source source;
	struct journal *journal;
	unsigned applied;                 /* notes of the journal */
	unsigned batch;
	struct space **v; unsigned n;
	struct order order;               /* what to load first, then what was asked for */
	struct order asked;
	bool held;                        /* some space has changes that are held */
	bool dropped; /* of a segment that is not complete something may have been */
	struct fault *later; unsigned nlater; /* must wait until an event was read */
	struct victim *victims; unsigned nvictims;
	int requests, replies;            /* from and to the worker; -1: it is gone */
	int worker;                       /* pidfd */
	pthread_rwlock_t events;          /* held to copy; exclusively to read and apply events */
	pthread_mutex_t lock;             /* of all places, and of failure */
	atomic_bool stop;                 /* loading threads end */
	int wake[2];                      /* written to by them: look */
	int standby;                      /* pidfd of the one that stands by */
	pid_t standby_pid;
	struct crcore_error failure;      /* code 0: none */
	uint8_t *buf;                     /* of the serving thread, IMAGE_BLOCK */
	uint8_t *nowhere;                 /* an address of ours that cannot be read */
	uint64_t started, loaded;         /* for the log */
};

/* source.c */
bool source_begin(struct source *, struct pages *, bool verify);
/* len bytes of one block, in buf (IMAGE_BLOCK) somewhere; NULL: damaged, or cannot be read. */
const uint8_t *source_read(struct source *, uint64_t offset, size_t len, uint8_t *buf,
                           struct crcore_error *);
/* The end of the block that the byte at offset is in. */
uint64_t source_block_end(const struct source *, uint64_t offset);

/* copy.c: what is in place is cut out of what is lacking, however it came there. */
/* 0; -EAGAIN: an event must be read first; -ESRCH: the program is gone; others are fatal. */
int copy_pages(struct state *, struct space *, uint64_t addr, const uint8_t *from, size_t len);
/* Whether all that was done to its memory so far has been read. */
bool is_quiet(const struct state *, const struct space *);
int copy_zeroes(struct space *, uint64_t addr);
/* The same where the caller does not hold events; only what still lacks those very bytes. */
int copy_if_lacking(struct state *, unsigned space, uint64_t addr, uint64_t offset,
                    const uint8_t *from, size_t len);
void wake_all(const struct space *);
/* One more huge page, where all is loaded and nothing is watched; false: none is left to make. */
bool copy_collapse(struct state *);
void note_failure(struct state *, const struct crcore_error *); /* the first one counts */
bool failed(struct state *);

/* events.c */
struct space *space_add(struct state *, int uffd); /* NULL: out of memory */
/* 1: something was read; 0: there is nothing; < 0: that is the end. ret: room for NOTES_AT_ONCE. */
int events_read(struct state *, unsigned space, struct fault *ret, unsigned *ret_n,
                struct crcore_error *);
/* Looks again at changes that are held. *ret_held: some still are. */
int events_settle(struct state *, bool *ret_held, struct crcore_error *);
/* What an earlier process read. */
int events_replay(struct state *, struct crcore_error *);
void space_close(struct state *, unsigned space);

/* changes.c. The caller has the lock. */
int changes_add(struct state *, struct space *, struct note *, struct crcore_error *);
bool changes_held(const struct space *, bool *ret_time); /* time: children should wait no longer */
/* quiet: nothing can come late any more. Else: lets the children go all the same. */
int changes_settle(struct state *, struct space *, bool quiet, struct crcore_error *);
void changes_free(struct space *);

/* shared.c: shared memory, each segment a space that is of no program. */
bool shared_begin(struct state *);
int shared_take(struct state *, unsigned segment, int fd, struct crcore_error *);
bool shared_lacking(const struct state *);
/* Which one is mapped at addr? 1: ret_*; 0: none; -1: that cannot be told. */
int shared_find(const struct state *, const struct space *, uint64_t addr, struct space **ret,
                  uint64_t *ret_addr);
void shared_heed(struct state *, const struct space *, const struct uffd_msg *); /* an event */
int shared_inherit(struct state *, struct crcore_error *); /* after events_replay() */
void shared_release(struct space *, int uffd); /* it is complete */
void shared_spoil(struct state *);   /* and it never will be: SIGBUS for whoever still maps it */

/* serve.c */
int serve_worker(struct state *, struct crcore_error *); /* until the tree is kept */
int serve_tree(struct state *, struct crcore_error *);   /* 1: all is loaded; 0: nobody stands by */

/* load.c */
struct loader;
int loader_start(struct state *, struct loader **ret, struct crcore_error *);
void loader_stop(struct loader *);

/* standby.c */
int standby_begin(struct state *, struct crcore_error *);
void standby_end(struct state *);
_Noreturn void pager_run(struct state *); /* the tree is kept: to the end */

/* give_up.c */
void note_victims(struct state *);
_Noreturn void give_up(struct state *, const struct crcore_error *);
#endif
