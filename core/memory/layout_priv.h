/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The restore layout while it is planned. Terms:
 *
 *  ident    what page it is: its offset in the page file. Pages with one ident
 *           are one physical page.
 *  node     a private mapping of one mm that has pages which other mms have too.
 *  lineage  nodes that were one mapping once, before forks, splits and moves. All
 *           of one lineage agree on where each shared page was staged: a node's
 *           delta is its distance from there. Most have delta 0.
 *  staged   addresses as of the lineage; final: as of the record.
 *  want     what an mm (with all below it) must find in the memory it is born with.
 */
#ifndef CRCORE_LAYOUT_PRIV_H
#define CRCORE_LAYOUT_PRIV_H

#include "core/memory/vmas.h"
#include "core/memory/memory.h"
#include "core/memory/spans.h"
#include "core/util/util.h"

#define NONE UINT32_MAX

struct node {
	uint32_t mm, vma;        /* which mapping */
	uint32_t lineage;
	uint32_t up;             /* while lineages are found: towards the representative */
	uint64_t delta;          /* final - staged; before: relative to up */
	bool adrift;             /* comes back as a copy */
};

struct lineage {
	uint64_t start, end;     /* staged extent of all its nodes */
	uint32_t nnodes;
	uint32_t plain;          /* node whose flags the staged mapping gets */
	bool elsewhere;          /* staged in scratch space, everybody moves */
	bool lost;               /* not staged at all: everybody copies */
	bool in_the_way;         /* was overwritten while still wanted */
};

/* Idents that several mms have, cut so that all of one segment have the same owners. */
struct segment { uint64_t start, end; uint32_t low, high; /* order of the owners */ };

struct moment {
	unsigned parent, child;  /* tasks: who clones, the first of those born */
	unsigned rank, number;
	uint32_t *mms; unsigned nmms; /* the address spaces born then */
	struct spans want;       /* pages, by staged address; val: ident, tag: lineage */
	struct spans extents;    /* mappings they are in; tag: lineage */
};

/* What an mm has at some point of its building, by staged address. */
struct state {
	struct spans pieces;     /* mappings; tag: lineage; val: differs from mapping to mapping */
	struct spans pages;      /* val: ident */
	unsigned refs;
};

struct place { /* one mm in the tree of copies */
	const Crcore__Mm *rec;
	int task;                /* that makes it; -1: no task has it */
	uint32_t parent;         /* place; NONE: the root, or outside */
	uint32_t order, end;     /* preorder numbers: it and all below are order..end-1 */
	struct moment *moments; unsigned nmoments;
	struct spans contents;   /* by final address; val: ident, tag: mapping */
	struct spans guards;
	uint32_t node0, nnodes;  /* its nodes are one behind the other, ascending */
	struct spans shared;     /* pages that others have too, by final address; tag: node */
	struct spans own;        /* the same by staged address; tag: lineage */
	struct spans want, extents;
	struct state *born;      /* what it inherits */
};

struct planner {
	Crcore__Task *const *tasks; unsigned ntasks;
	struct layout_birth *births;
	struct place *places; unsigned n;
	uint32_t *by_order;      /* place of each preorder number, those in the tree */
	unsigned nordered;
	uint32_t *place_of_task;
	uint64_t room;           /* how many more ranges the contents of all may have */
	struct segment *segments; size_t nsegments;
	struct node *nodes; unsigned nnodes;
	struct lineage *lineages; unsigned nlineages;
	uint64_t region_start;
	uint64_t scratch, scratch_end; /* free addresses, taken from below */
	uint64_t nmapped;        /* staged mappings so far */
	uint64_t filled, unique; /* pages that the plan reads, and that there are */
	unsigned splits;         /* mappings that come back in parts */
	bool final;              /* the last try: copy rather than split */
	struct layouts out;
};

/* births.c: the tree of copies and its moments. */
int layout_tree(struct planner *, const struct layout_birth *, struct crcore_error *);
/* contents.c: what pages each mm has. */
int layout_contents(struct planner *, struct crcore_error *);
/* owners.c: segments, cut as fine as anybody's ranges; those with one owner are left out. */
int layout_owners(struct planner *, struct crcore_error *);
/* First segment that ends behind ident. */
size_t segment_at(const struct planner *, uint64_t ident);
/* From here on only the owners of a segment matter. */
void segments_join(struct planner *);
/* lineage.c: nodes and lineages. */
int layout_lineages(struct planner *, struct crcore_error *);
/* Finds the extent and the flags of a lineage anew, after nodes came or went. */
void lineage_measure(struct planner *, uint32_t lineage);
/* separate.c: no mm has two nodes of one lineage that overlap. */
int layout_separate(struct planner *, struct crcore_error *);
/* Moves a lineage out of the way: to scratch space, or nowhere if there is none. */
void lineage_relocate(struct planner *, struct lineage *);
/* Staged address range of a node. */
struct span node_extent(const struct planner *, const struct node *);
/* want.c: from the leaves up, what each mm must be born with. */
int layout_wants(struct planner *, struct crcore_error *);
/* order.c: the order of the moments of one place, within what is allowed. */
int layout_order(struct place *, const struct state *born, struct crcore_error *);
/* stage.c: from the root down, the steps. */
int layout_stage(struct planner *, struct crcore_error *);
/* settle.c: from what it has in the end to what it is to be. state NULL: nothing. */
int layout_settle(struct planner *, struct place *, const struct state *, struct layout *,
                  struct crcore_error *);
/* A range of scratch space, or 0. */
uint64_t layout_scratch(struct planner *, uint64_t len, uint64_t align);

#endif
