/* SPDX-License-Identifier: Apache-2.0 */
/* Copying ahead, between its files: the address spaces that are watched. */
#ifndef CRCORE_WATCH_H
#define CRCORE_WATCH_H

#include "core/memory/known.h"
#include "core/memory/save_priv.h"

struct watched {
	struct mm *mm;          /* of the watch's own tree */
	pid_t pid;
	int uffd;               /* -1: cannot be watched */
	uint64_t mode;          /* what mappings are registered for */
	struct pagemap pagemap;
	struct source source;
	struct runs runs, gone; /* what a round has stored, and what it could not read */
	struct spans saved;     /* what is in the image, by address: tag says how */
	uint32_t before;        /* its id in the image before */
	struct spans covered;   /* the same without where, once all rounds are over */
	struct spans missed;    /* of the image before: what was not watched since */
	struct known known;
	uint64_t start_time;    /* of the process */
	uint64_t refused;       /* bytes that could be watched, but somebody else does */
	bool unmarked;          /* its pages need not be looked at for marks of earlier watches */
};
/* Tags of saved: in this image, val is the offset; it is zero, or is as in the image before, then
 * val is the address. */
enum { SAVED_BYTES, SAVED_ZERO, SAVED_BEFORE };

struct watch {
	struct tree *tree;      /* as it was when the watch began */
	const struct flags *flags; /* how mappings are asked for theirs */
	struct watched *v; unsigned n;
	struct store store;
	unsigned rounds;
	uint64_t copied;        /* pages, in the last of them */
	uint64_t expected;      /* pages that are likely to have been written to since */
	uint64_t looked_ns;     /* when the last look was; 0: there was none */
	uint64_t grown;         /* bytes that came since and are not watched */
	unsigned more;          /* times that we asked for that */
	bool keep;              /* it outlasts us */
	bool copies;            /* ahead, in rounds */
	bool unsure;            /* saved has what was not watched since */
	bool mixed;             /* the watch of some goes on, of others it began */
};

/* That of the process, NULL: it was not there, or cannot be watched. */
struct watched *watch_find(const struct watch *, pid_t);
/* Private anonymous memory; all else is saved while the tree stands still. */
bool watch_is_fit(const struct vma_text *);
/* Registers all of one that can be watched (watch.c). */
int watch_mappings(struct watched *, struct crcore_error *);
/* -- watch_marks.c: what earlier watches left -- */
/* Mappings that can be watched, joined where they touch. */
int watch_fit_mappings(const struct task *, struct spans *ret, struct crcore_error *);
/* Of marked, takes away what lies in now, which is watched. */
int watch_lift_marks(const struct watched *, const struct spans *marked, const struct spans *now,
                     struct crcore_error *);
bool watch_is_unmarked(const struct unmarked *, pid_t, uint64_t start_time); /* NULL: not known */
/* -- watch_keep.c: from one dump to the next -- */
/* Finds out of what the image before has which was not watched since: before anything is
 * registered anew. */
int watch_go_on(struct watched *, struct crcore_error *);
/* The tree runs again: keeps what it is certain that we, and nobody else, have watched. */
int watch_only_ours(struct watch *, struct crcore_error *);
/* The tree is frozen and being saved: from now on what is written to is new. */
void watch_renew(struct watch *, const struct save *);
/* Stops to watch one that ends, or that the kernel tells nothing of: it is left for the end. */
void watch_give_up(struct watched *, struct crcore_error *);
/* How much address space came since that could be watched. */
uint64_t watch_lacks(const struct watched *);
/* Was the process there when the watch began? */
bool watch_knew(const struct watch *, pid_t);
#endif
