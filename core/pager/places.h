/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one address space still lacks: ranges of addresses, each with where in the pages of
 * the image its bytes are. It follows what the program does with its memory while that is
 * loaded: ranges vanish, move, and are copied by fork.
 */
#ifndef CRCORE_PAGER_PLACES_H
#define CRCORE_PAGER_PLACES_H

#include "core/memory/spans.h"

/* val: offset in the pages; ascending; may have empty spans between others. */
struct places {
	struct span *v;
	size_t n, cap;
	uint64_t bytes; /* that are lacking */
};

/* All that return bool return false when out of memory, and have changed nothing then. */
/* Behind the last. */
bool places_add(struct places *, uint64_t addr, uint64_t len, uint64_t offset);
/* The place of addr, NULL: nothing is lacking there. */
const struct span *places_at(const struct places *, uint64_t addr);
/* The first place that ends behind addr, NULL: none. */
const struct span *places_from(const struct places *, uint64_t addr);
/* What is in [start, end) is not lacking any more. */
bool places_cut(struct places *, uint64_t start, uint64_t end);
/* As mremap(2) does: what was lacking at the new addresses does not matter any more. */
bool places_move(struct places *, uint64_t from, uint64_t to, uint64_t len);
bool places_copy(const struct places *, struct places *ret);
void places_free(struct places *);
#endif
