/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: reading the mappings of a task, finding pages with contents, telling
 * which are the same physical page, saving them as page runs; and planning
 * how a restored tree gets them back with the sharing it had.
 */
#ifndef CRCORE_MEMORY_H
#define CRCORE_MEMORY_H

#include "core/image/image.h"
#include "core/task/task.h"

/* Fills mm->rec->vmas from /proc/PID/smaps (flags, advice, locks, huge pages).
 * Unknown sorts of mapping are named refusals. Each mapping of a file is given
 * to fn with the path of its /proc/PID/map_files link, dev:ino as maps shows it;
 * fn returns the object id to store, or a negative errno. */
struct mapped_file {
	const Crcore__Vma *vma;
	const char *link;    /* text of the link, with " (deleted)" if so */
	uint64_t dev, ino;
	char map_file[64];   /* "map_files/START-END", relative to /proc/PID */
};
int vmas_read(struct mm *, int (*fn)(void *arg, struct mm *, const struct mapped_file *,
              struct crcore_error *), void *arg, struct crcore_error *);

/* Save stage, all tasks frozen: writes pages-1.bin, fills runs of every mm and
 * the segments. Regions that crcore mapped are left out (see vmas_read: call it
 * before the injection). */
struct memory_stats { uint64_t scanned, zero, stored, shared; /* pages */ };
int memory_save(struct tree *, struct image *, Crcore__Segment ***ret_segments,
                unsigned *ret_nsegments, struct memory_stats *, struct crcore_error *);

/* -- restore: layout.c ------------------------------------------------------ */
/*
 * What each address space has to do so that shared pages come back shared.
 * Computed from the Mm records and the task tree only (no privileges, unit
 * tested). See docs/architecture.md, "Memory".
 *
 * For one mm, in this order:
 *   stage: before its children are cloned: mappings to make (MAP_FIXED) and
 *          pages to fill at their staging addresses
 *   then, after its children were cloned:
 *   moves: mremap old -> new of staged or inherited ranges (ordered so that
 *          none is overwritten; may pass through a scratch address)
 *   drops: ranges to unmap (everything inherited or staged that it does not keep)
 *   maps:  mappings to make afresh (MAP_FIXED)
 *   fills: pages to read into them
 *   fixes: final mprotect / madvise / mlock of every mapping
 */
struct layout_map { const Crcore__Vma *vma; uint64_t start, end; uint64_t offset; };
struct layout_move { uint64_t from, to, len; };
struct layout_range { uint64_t start, end; };
struct layout_fill { uint64_t addr, pages, file_offset; };
struct layout {
	uint32_t mm;
	struct layout_map *stage; unsigned nstage;
	struct layout_fill *stage_fills; unsigned nstage_fills;
	struct layout_move *moves; unsigned nmoves;
	struct layout_range *drops; unsigned ndrops;
	struct layout_map *maps; unsigned nmaps;
	struct layout_fill *fills; unsigned nfills;
};
/* Tasks with parents before children, as in the image. region: the range that
 * every task keeps for the interpreter; found so that it is free in all. */
struct layouts { struct layout *v; unsigned n; uint64_t region_start; };
int layouts_plan(Crcore__Task *const *tasks, unsigned ntasks, Crcore__Mm *const *mms, unsigned nmms,
                 uint64_t region_size, struct layouts *ret, struct crcore_error *);
void layouts_free(struct layouts *);
/* Checks an Mm record read from an image: order, overlap, alignment, runs inside
 * mappings, references to other mms, offsets within pages_len. */
int mm_validate(const Crcore__Mm *, Crcore__Mm *const *mms, unsigned nmms, uint64_t pages_len,
                struct crcore_error *);
#endif
