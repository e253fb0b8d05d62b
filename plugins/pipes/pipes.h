/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "pipes": pipes and FIFOs, with the bytes that are in them.
 *
 *   pipes.c    the plugin: options, sections, claim
 *   review.c   dump: which pipes have both ends in the tree, who holds the other
 *   save.c     dump: records, the bytes
 *   restore.c  restore: records to descriptors
 *   fifo.c     FIFOs: finding them, opening them without waiting for a partner
 *
 * An object is one description of an end. Bytes are copied with tee(2), which
 * takes nothing out; whether the other end is still open is asked with poll(2)
 * and tee(2), never by opening it, because that would count as an open end.
 */
#ifndef CRCORE_PLUGIN_PIPES_H
#define CRCORE_PLUGIN_PIPES_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "pipes.pb-c.h"
#include "plugins/record.h"

enum external { EXTERNAL_REFUSE, EXTERNAL_CLOSED, EXTERNAL_INHERIT }; /* option external */

/* Dump: one pipe of the tree. */
struct known {
	dev_t dev;
	ino_t ino;
	const struct crcore_object *first; /* the object that refusals name */
	uint32_t number;
	unsigned readers, writers;         /* descriptions in the tree */
	bool outside;                      /* the missing end is open outside the tree */
	bool no_writer_yet;                /* a FIFO that never had one since it was opened */
	bool saved;
};

/* Restore: one pipe. */
struct made {
	Pipes__Pipe *rec;
	unsigned readers, writers; /* descriptions among the records */
	bool exists;
	unsigned left;             /* objects of it that are still to be made */
	int fd[2];                 /* ends that no object took yet, -1: none */
	int hold;                  /* FIFO: open for both until all objects are made, -1: none */
	uint32_t any;              /* an object of it that is made, 0: none */
	char *name;                /* unlinked FIFO: if named */
	bool named;
};

struct pipes {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum external external;

	struct known *known; /* sorted by dev, ino */
	unsigned nknown;
	int own[2];          /* where tee(2) copies to, -1: not made */
	unsigned own_capacity;
	unsigned scans;      /* of /proc for the other end; they are slow */
	uint64_t blob_end;

	struct made **made;  /* by number once checked */
	unsigned nmade;
	Pipes__End **ends;   /* by id once checked */
	unsigned nends;
};

static inline bool pipes_can_read(uint32_t flags) { return (flags & O_ACCMODE) != O_WRONLY; }
static inline bool pipes_can_write(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

/* review.c */
int pipes_review(void *state, const struct crcore_object *, struct crcore_error *);
struct known *pipes_find(const struct pipes *, dev_t dev, ino_t ino);
/* The pipe to copy to, at least that large. */
int pipes_own(struct pipes *, unsigned capacity, struct crcore_error *);

/* save.c */
int pipes_save_object(void *state, const struct crcore_object *, struct crcore_error *);

/* restore.c */
int pipes_load_record(void *state, const char *section, uint32_t version, const void *msg,
                      size_t len, struct crcore_error *);
int pipes_check(void *state, struct crcore_error *);
int pipes_create(void *state, uint32_t id, struct crcore_error *);
int pipes_settle(void *state, struct crcore_error *);
void made_let_go(struct made *); /* of what only the making of its objects needs */

/* fifo.c */
/* The path of a FIFO that an object is open on; *ret_unlinked: it has no name any more. */
int fifo_locate(const struct crcore_object *, char ret_path[PATH_MAX], bool *ret_unlinked,
                struct crcore_error *);
int fifo_check(const Pipes__Pipe *, struct crcore_error *);
/* Opens it for both ways: m->hold. */
int fifo_make(struct pipes *, struct made *, struct crcore_error *);
int fifo_open(struct made *, uint32_t flags, struct crcore_error *);
#endif
