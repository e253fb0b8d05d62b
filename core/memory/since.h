/* SPDX-License-Identifier: Apache-2.0 */
/* What an earlier image has of a tree's memory, and who has watched it since (tracker.h). */
#ifndef CRCORE_SINCE_H
#define CRCORE_SINCE_H

#include "core/memory/memory.h"
#include "core/memory/spans.h"

struct since_mm {
	uint32_t id;          /* in the image */
	pid_t pid;            /* the first that had it */
	uint64_t start_time;
	int uffd;             /* -1: nobody watched it, or it has a new owner */
	struct spans saved;   /* its pages in the image */
};

struct since {
	uint64_t pages;       /* bytes of pages of the image and its ancestors */
	uint64_t age_ns;      /* how long ago it was made, at most */
	struct since_mm *v;
	unsigned n;
	Crcore__Tracking tracking;
};

/* That of a process which is still the one that was tracked; NULL: none. */
struct since_mm *since_find(struct since *, const struct task *);
/* Closes what nobody has taken. */
void since_close(struct since *);
#endif
