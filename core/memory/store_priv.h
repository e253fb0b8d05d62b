/* SPDX-License-Identifier: Apache-2.0 */
/* Copying pages: what store.c, which fills blocks, shares with store_read.c, which reads. */
#ifndef CRCORE_STORE_PRIV_H
#define CRCORE_STORE_PRIV_H

#include <pthread.h>
#include <sys/uio.h>
#include "core/memory/save_priv.h"

enum { BLOCK_PAGES = IMAGE_BLOCK / 4096, LATE_MAX = 128 /* blocks */ };

struct stored { struct source *source; uint64_t addr, pages, offset; bool gone; };

struct queue {
	struct store *store;
	unsigned nfiles;         /* that are written */
	pthread_mutex_t lock;
	size_t job;              /* next, and how much of it was taken */
	uint64_t taken;
	bool stop;
};

struct copier {
	struct queue *q;
	unsigned file;           /* that it writes */
	char *block;
	uint64_t fill;           /* bytes in it */
	uint64_t number;         /* which of the file it is to be */
	struct stored *v; size_t n, flushed;
	uint64_t zero, stored;
	struct source *open;     /* of fd */
	int fd;
	int r;
	struct crcore_error err;
	pthread_t thread;
};

struct batch {
	const struct job *job;   /* the first; all are of its sort */
	struct iovec from[BLOCK_PAGES];
	unsigned n;
	uint64_t pages;
	uint64_t ngone;
	bool gone[BLOCK_PAGES];  /* of a tree that runs: unmapped meanwhile */
};

/* Notes the next page of the source as stored where the block is filled to, or gone (store.c). */
int store_note(struct copier *, struct source *, uint64_t addr, bool gone, struct crcore_error *);
/* Takes out of a batch, and notes as gone, what somebody else has too. */
int leave_shared(struct copier *, struct batch *, struct crcore_error *);
/* Reads the pages of a batch to where the block has room. Those of a tree that runs which
 * are not there any more are marked in it. */
int read_batch(struct copier *, struct batch *, char *to, struct crcore_error *);

/* -- store_late.c -- */
/* A block; the caller has the lock if there are others. NULL: no memory. */
char *store_block_get(struct store *);
void store_block_put(struct store *, char *); /* NULL is fine */
/* Hands the copier's block over to be written later; it gets another. 0: there are too many. */
int store_put_off(struct copier *, uint64_t block, size_t len, struct crcore_error *);

#endif
