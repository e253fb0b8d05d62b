/* SPDX-License-Identifier: Apache-2.0 */
/* What is fed to a task: feed.c, and how it comes to its place: feed_place.c. */
#ifndef CRCORE_FEED_PRIV_H
#define CRCORE_FEED_PRIV_H

#include "core/restore/restore.h"

/* Bytes of one block that belong together. */
struct piece {
	uint64_t addr, offset, len, block_end;
	bool fresh;               /* in memory that is watched while it is fed */
};

/* Mappings without pages, side by side; range: what of the task's memory is watched for them. */
struct zone { uint64_t start, end; struct layout_range range; bool used; };
struct zones { struct zone *v; unsigned n; }; /* ascending */

/* What one task asks for at one moment. */
struct feed {
	struct stub *stub;
	uint64_t asked, fed;      /* addresses of words */
	struct piece *v;          /* by offset */
	unsigned n, next, left;   /* next to take; not written yet */
	uint64_t bytes;           /* not taken yet */
	struct layout_range *ranges; unsigned nranges; /* to be watched */
	uint32_t op;              /* makes the userfaultfd; UINT32_MAX: none does */
	int uffd;                 /* -1: not open */
	bool watched;             /* all ranges are */
};

/* The mappings that are made at the same moment, as far as pages can be put into them at once. */
int zones_find(struct restore *, const struct fresh *, struct zones *ret, struct crcore_error *);
/* The zone that addr is in, or NULL; *ret_end: where that ends. */
struct zone *zones_at(const struct zones *, uint64_t addr, uint64_t *ret_end);
/* Ranges and operations for those that are used. */
int feed_plan_watch(struct feed *, const struct zones *, struct crcore_error *);
/* The end of it in the program. */
void feed_plan_end(struct feed *);

/* The task waits. Whatever does not work is done in another way. */
void feed_watch(struct feed *);
void feed_unwatch(struct feed *); /* again, too */
/* Pieces [from, to), whose bytes begin with that of base. By several threads. */
int feed_place(const struct feed *, unsigned from, unsigned to, const uint8_t *bytes,
               uint64_t base, struct crcore_error *);
#endif
