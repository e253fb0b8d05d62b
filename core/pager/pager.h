/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that comes when it is needed: a process that goes on when the command has ended,
 * answers faults of a restored tree from its image, and loads the rest meanwhile. Another
 * process stands by, which has the same descriptors and goes on should the first be killed;
 * so a task may wait for its page, but never finds zeroes in its place.
 *
 * When all is loaded both are gone, and nothing of the tree differs from any other.
 */
#ifndef CRCORE_PAGER_H
#define CRCORE_PAGER_H

#include "core/image/pages.h"
#include "core/memory/memory.h"

struct pager; /* the worker's end of it */

/* What an address space lacks; fills ascend and do not overlap. */
struct pager_space {
	const struct layout_fill *fills; unsigned n;
	const struct layout_range *ranges; unsigned nranges; /* what is registered */
	const struct pager_mapping *mappings; unsigned nmappings; /* of segments; ascending */
	const struct layout_range *huge; unsigned nhuge; /* are to be of huge pages, each a multiple */
};
#define PAGER_HUGE (2ULL << 20)
struct pager_mapping { uint64_t start, end, offset; unsigned segment; };

/* Shared anonymous memory. All mappings of it in all spaces are registered. */
struct pager_segment {
	const struct layout_fill *fills; unsigned n; /* addr: in the segment; ascending */
	uint64_t size;
};

struct pager_setup {
	struct image *image;       /* both must stay open until the end of the worker */
	struct pages *pages;
	bool verify;               /* each block when it is first read */
	bool detached;             /* nobody will look at standard error */
	const struct pager_space *spaces;
	unsigned n;
	const struct pager_segment *segments;
	unsigned nsegments;
};

/* Forks it. Call this while nothing of the tree is open here. */
int pager_start(const struct pager_setup *, struct pager **ret, struct crcore_error *);
/* Hands it the userfaultfd of a space, with all its ranges registered; it answers from now on.
 * pidfd: of a task that has the space. */
int pager_take(struct pager *, unsigned space, int uffd, int pidfd, struct crcore_error *);
/* A descriptor of a segment, which has no pages yet. */
int pager_take_segment(struct pager *, unsigned segment, int fd, struct crcore_error *);
/* Did it fail, or end? */
int pager_check(struct pager *, struct crcore_error *);
/* The tree is about to run: from now on it lives by itself, until all is loaded. pids: whom it
 * ends if an image turns out to be damaged. */
int pager_keep(struct pager *, const pid_t *pids, unsigned n, struct crcore_error *);
/* The end of ours; and, if it was not told to keep the tree, of it. NULL is fine. */
void pager_end(struct pager *);

/* Makes a new userfaultfd one that it can work with. */
int pager_prepare(int uffd, struct crcore_error *);
/* Can this kernel do it, and we? */
bool pager_works(void);
#endif
