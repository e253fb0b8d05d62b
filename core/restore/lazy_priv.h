/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to the pager: lazy.c, lazy_segments.c. */
#ifndef CRCORE_LAZY_PRIV_H
#define CRCORE_LAZY_PRIV_H

#include <sys/mman.h>
#include "core/pager/pager.h"
#include "core/restore/restore.h"

#define LAZY_WORTH (1ULL << 20) /* bytes; less is read sooner than it is watched */
#define ADVICE(n) (1ULL << (n))
/* Advice that changes neither what is in the memory nor who gets it. */
#define LAZY_HARMLESS (ADVICE(MADV_RANDOM) | ADVICE(MADV_SEQUENTIAL) | ADVICE(MADV_DONTDUMP) | \
                       ADVICE(MADV_HUGEPAGE) | ADVICE(MADV_NOHUGEPAGE))

struct lazy_mm {
	struct layout_fill *fills; unsigned n;       /* the pager's */
	struct layout_range *ranges; unsigned nranges; /* to be watched; none: not the pager's */
	struct pager_mapping *mappings; unsigned nmappings; /* of segments */
	struct layout_range *huge; unsigned nhuge;   /* to be of huge pages in the end */
	uint64_t word;                               /* the task waits for it */
	uint32_t op;                                 /* makes the descriptor */
	struct stub *stub;                           /* whose program has it; NULL: none */
	bool taken;
};

struct lazy_segment {
	const Crcore__Segment *rec;
	struct layout_fill *fills; unsigned n; /* addr: in the segment */
	bool used;
};

struct lazy {
	struct pager *pager;
	struct lazy_mm *v; /* parallel to layouts.v */
	uint64_t word;     /* counts those that wait */
	struct lazy_segment *segments; unsigned nsegments;
};

/* lazy_segments.c: adds to what is watched in every space that maps one. */
int lazy_segments_plan(struct restore *, struct crcore_error *);
void lazy_segments_end(struct lazy *);
#endif
