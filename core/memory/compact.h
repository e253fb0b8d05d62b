/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes of the pages of a chain are referred to, and where each goes in a merged image. */
#ifndef CRCORE_COMPACT_H
#define CRCORE_COMPACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct piece {
	uint64_t old, len;   /* bytes of the chain */
	uint64_t at;         /* where they go */
	size_t turn;         /* when they were first referred to */
};

struct compact {
	struct piece *v; size_t n;
	uint64_t length;     /* of all pieces */
};

/* Notes that bytes are referred to, in the order in which they had best lie; they may have
 * been before, in whole or in part. false: out of memory. */
bool compact_add(struct compact *, uint64_t old, uint64_t len);
/* Once, after all: gives every byte its place. The pieces are by old then, and do not overlap. */
void compact_place(struct compact *);
/* Where a byte went that was added, and (ret_len) how many behind it lie behind it there, too. */
uint64_t compact_find(const struct compact *, uint64_t old, uint64_t *ret_len);
/* Puts the pieces in the order of their new places. */
void compact_by_place(struct compact *);
void compact_free(struct compact *);
#endif
