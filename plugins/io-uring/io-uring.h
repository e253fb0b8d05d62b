/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "io-uring": rings of io_uring that are quiet.
 *
 *   io-uring.c  the plugin: options, sections, claim, review
 *   look.c      what the kernel alone knows of a ring, and what keeps one from being saved
 *   flight.c    requests in flight: waiting for their end
 *   memory.c    the memory that a ring shares with the program, and whose it is
 *   save.c      dump: records
 *   restore.c   restore: records, rings
 *   count.c     restore: counting up to where the kernel was
 *   issuer.c    rings that only one thread may use
 *
 * A request in flight belongs to the kernel, and cannot be saved. Most take milliseconds,
 * so they are waited for; those that may take for ever are refused. What is left of a
 * ring then is how it was set up, what has been registered with it, the memory that
 * it shares with the program, and two counters of the kernel's own, which must be as they
 * were because the program goes on by them.
 *
 * A ring knows its maker only where it was told so (IORING_SETUP_SINGLE_ISSUER, SQPOLL),
 * so crcore makes it. But the kernel chooses where the memory of a ring is mapped,
 * and nobody can have it moved. So that of a restored ring is a memfd, which the ring is
 * given (IORING_SETUP_NO_MMAP) and the program maps as it mapped the ring.
 */
#ifndef CRCORE_PLUGIN_IO_URING_H
#define CRCORE_PLUGIN_IO_URING_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "io-uring.pb-c.h"
#include "plugins/args.h"
#include "plugins/bpf/peek.h"
#include "plugins/util.h"

/* Since Linux 6.0 to 6.18. */
#define SETUP_SINGLE_ISSUER (1u << 12)
#define SETUP_DEFER_TASKRUN (1u << 13)
#define SETUP_NO_MMAP (1u << 14)
#define SETUP_REGISTERED_FD_ONLY (1u << 15)
#define SETUP_NO_SQARRAY (1u << 16)
#define SETUP_HYBRID_IOPOLL (1u << 17)
#define SETUP_CQE_MIXED (1u << 18)
#define SETUP_ONE_THREAD (SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN)
/* What is set up in one of these ways is saved. */
#define SETUP_KNOWN (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED | \
                     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | \
                     IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | \
                     SETUP_NO_SQARRAY | SETUP_ONE_THREAD)
#define MEMORY_NAME "restored-io_uring" /* of the memfd */
#define SQ_ENTRIES_MAX 32768u
#define CQ_ENTRIES_MAX (2 * SQ_ENTRIES_MAX)

/* What the kernel knows. */
struct look {
	uint64_t ctx; /* the struct io_ring_ctx */
	uint32_t setup, sq_entries, cq_entries, submitted, completed;
	bool drain_disabled;
	ino_t memory; /* of what it was given as memory; 0: it has its own, or not by a file */
};

/* Inode numbers of a ring and of its memory. Each ring has an inode. */
struct pair {
	ino_t ring, memory;
};

struct uring {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	uint64_t wait_ns, count_limit; /* options */
	struct peek *peek;             /* NULL: nothing to look at yet */
	struct pair *pairs;            /* of all rings that were looked at */
	unsigned npairs;

	struct made *made;             /* restore: by id once checked */
	Uring__Mapping **mappings;
	unsigned nmade, nmappings;
};

/* Restore: one ring. */
struct made {
	Uring__Ring *rec;
	int memory; /* the memfd, -1: none yet */
	/* Of one that a thread of the tree is to count: */
	int large;           /* the memfd of the large ring, -1: none yet */
	uint32_t large_head; /* where in it the program's part of the completions begins */
	uint32_t unread;     /* completions that the program had not taken */
	struct io_uring_params p;
};

/* A ring that we have mapped. */
struct ring_memory {
	int fd, memory; /* of ours: the ring and its memfd; -1: of another */
	struct io_uring_params p;
	uint8_t *rings, *sqes;
	size_t rings_len, sqes_len;
};

/* look.c */
/* The struct io_ring_ctx. fd: a descriptor of our own. */
int ring_find(struct uring *, int fd, uint64_t *ret, struct crcore_error *);
/* All that is to be known of it. */
int ring_look(struct uring *, int fd, struct look *ret, struct crcore_error *);
/* Refuses what cannot be saved whatever is in flight. */
int ring_check(struct uring *, const struct look *, struct crcore_error *);
/* Refuses requests that wait for something to happen, which may never be. */
int ring_check_waiting(struct uring *, const struct look *, const char *fdinfo,
                       struct crcore_error *);

/* flight.c */
int uring_ask(void *state, const struct crcore_task *, struct crcore_program *,
              struct crcore_error *);
int uring_hold(void *state, struct crcore_error *);
/* Calls fn for each task that has used the ring with its struct io_uring_task, until one
 * returns nonzero, which is returned. */
int ring_each_user(struct uring *, uint64_t ctx, int (*fn)(struct uring *, uint64_t, void *),
                   void *arg);

/* memory.c */
bool is_ring(const struct crcore_object *);
bool is_memory(const struct crcore_object *);
/* Is one nothing without the other? Of a ring and its memory. */
bool needs_other(const struct uring *, const struct crcore_object *);
/* Takes note of the memory of a ring. */
int note_memory(struct uring *, const struct crcore_object *ring, const struct look *,
                struct crcore_error *);
/* The other one of a ring and its memory, both objects of ours; NULL: none of the tree. */
const struct crcore_object *other_of(const struct uring *, const struct crcore_object *);
/* Sets up one as another was, to see how that is done, which *ret_p says. */
int ring_try(uint32_t setup, uint32_t sq_entries, uint32_t cq_entries,
             struct io_uring_params *ret_p, struct crcore_error *);
/* Maps the memory of a ring that was set up so, from a descriptor of it. */
int ring_map(int fd, const struct io_uring_params *, struct ring_memory *ret,
             struct crcore_error *);
void ring_unmap(struct ring_memory *);
/* Sets its lengths alone, and p. */
void ring_lengths(const struct io_uring_params *, struct ring_memory *);
/* A memfd for a ring that was set up so. */
int ring_new_memory(const struct io_uring_params *, struct crcore_error *);
/* Sets up a ring in a memfd, as another was, and maps it. */
int ring_in_memfd(uint32_t setup, uint32_t sq_entries, uint32_t cq_entries, struct ring_memory *ret,
                  struct crcore_error *);
/* A number of it, at one of the offsets of io_uring_setup(2). */
uint32_t *ring_word(const struct ring_memory *, uint32_t offset);

/* save.c */
int uring_save_object(void *state, const struct crcore_object *, struct crcore_error *);

/* restore.c */
int uring_load_record(void *state, const char *section, uint32_t version, const void *msg,
                      size_t len, struct crcore_error *);
int uring_check(void *state, struct crcore_error *);
int uring_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max, struct crcore_error *);
int uring_create(void *state, uint32_t id, struct crcore_error *);
int uring_emit(void *state, const struct crcore_task *, uint32_t phase, struct crcore_program *,
               struct crcore_error *);
int uring_settle(void *state, struct crcore_error *);
int uring_map(void *state, uint32_t id, const struct crcore_mapping *const *v, uint32_t n,
              uint64_t scratch, uint64_t scratch_len, struct crcore_program *,
              struct crcore_error *);

/* issuer.c */
bool is_of_one_thread(uint32_t setup);
/* The process whose first thread alone may use it, which must be the one that obj is found in;
 * 0: any may. */
int issuer_find(struct uring *, const struct crcore_object *, const struct look *, pid_t *ret,
                struct crcore_error *);
/* Has that thread take note of requests that have ended. */
void issuer_ask(struct uring *, const struct crcore_object *, uint64_t ended,
                struct crcore_program *);
int issuer_create(struct made *, struct crcore_error *);
int issuer_emit(struct uring *, struct made *, struct crcore_program *, struct crcore_error *);

/* count.c */
/* Brings a new ring to where the kernel was with the old one. unread: completions that the
 * program had not taken. */
int ring_count(struct uring *, const struct ring_memory *, const Uring__Ring *, uint32_t unread,
               struct crcore_error *);
/* Of how many requests and completions that consists. */
uint64_t ring_steps(uint32_t submitted, uint32_t completed);

/* Where in the parameters the addresses of memory are: the last number of either struct, which
 * has no name in older headers. */
#define LAST_NUMBER(member) \
	(offsetof(struct io_uring_params, member) + sizeof(((struct io_uring_params *)0)->member) - 8)
#define RINGS_ADDRESS LAST_NUMBER(cq_off)
#define SQES_ADDRESS LAST_NUMBER(sq_off)
#endif
