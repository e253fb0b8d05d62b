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

struct flags;
struct known;
struct vma_list;

/* How the kernel is asked what is mapped. */
struct vmas_how {
	const struct flags *flags;  /* NULL: by smaps */
	const struct known *known;  /* what was said shortly before, NULL: nothing */
	uint64_t shmem_dev;         /* see vmas_shmem() */
	bool quick;                 /* flags may be left out where smaps alone tells them */
};
/* Locks and advice without smaps, which visits all pages (flags.h). Open before namespaces are
 * entered; prepare for a tree if that is worth it, while it runs. NULL is fine for close. */
int flags_open(struct flags **ret, struct crcore_error *);
void flags_prepare(struct flags *, const struct tree *);
void flags_close(struct flags *);
int flags_try(void); /* < 0: they cannot be had here */

/* Fills mm->rec->vmas (flags, advice, locks, huge pages).
 * Unknown sorts of mapping are named refusals. Each mapping of a file is given
 * to fn with the path of its /proc/PID/map_files link, dev:ino as maps shows it;
 * fn returns the object id to store, or a negative errno. */
struct mapped_file {
	const Crcore__Vma *vma;
	const char *link;    /* text of the link, with " (deleted)" if so */
	uint64_t dev, ino;
	char map_file[64];   /* "map_files/START-END", relative to /proc/PID */
};
int vmas_read(struct mm *, const struct vmas_how *,
              const struct vma_list *fetched, /* NULL: not yet */
              int (*fn)(void *arg, struct mm *, const struct mapped_file *, struct crcore_error *),
              void *arg, struct crcore_error *);
/* What takes longest of it, which several threads may do for an mm each: what the kernel
 * says of its mappings. NULL: it failed; vmas_read() then asks itself. */
struct vma_list *vmas_fetch(const struct mm *, const struct vmas_how *);
bool vmas_have_flags(const struct vma_list *); /* NULL: no */
void vmas_drop(struct vma_list *); /* NULL is fine */
/* Device number of the file system that anonymous shared memory lives in. */
int vmas_shmem(uint64_t *ret, struct crcore_error *);

/*
 * Copying ahead (watch.c): saves memory of a tree that runs, so that less is left to
 * copy when it is frozen. Begin it while the tree is frozen for a moment, with one that
 * has its mms; copy once it runs again; the tree given must stay until the end. What
 * cannot be watched is no failure. A watch also knows what was said of mappings last.
 */
struct watch;
/* Processes in whose memory no earlier watch left marks, found while they run. */
struct unmarked { struct { pid_t pid; uint64_t start_time; } *v; unsigned n; };
void watch_look_for_marks(const struct tree *, struct unmarked *ret);
struct watch_how {
	bool begin;          /* put under watch what is not */
	bool rounds;         /* copy ahead */
	bool keep;           /* the watch is to outlast us: see watch_keep() */
	struct since *since; /* whose watch goes on; NULL: none */
	const struct flags *flags;
	const struct unmarked *unmarked; /* NULL: it was not looked */
	uint64_t timeout_ns;
};
int watch_begin(struct tree *, struct image *, const struct watch_how *, struct watch **ret,
                struct crcore_error *);
int watch_copy(struct watch *, struct crcore_error *); /* runs; 1: watch more, and go on */
int watch_more(struct watch *, struct crcore_error *); /* what came since; frozen once more */
const struct known *watch_known(struct watch *, pid_t); /* NULL: nothing */
/* The end, where the tree goes on: lift while it runs, then ready, frozen once more, and end. */
void watch_lift(struct watch *);
void watch_ready_to_end(struct watch *);
void watch_end(struct watch *); /* NULL is fine */

/* Hands the watch to a process that keeps it up (tracker.h): what it protects is as saved. */
struct tracker;
int watch_keep(struct watch *, Crcore__Tracking *, struct tracker **ret, struct crcore_error *);

/*
 * An image made on an earlier one (since.c): what was not written to since then need not be
 * saved again. Open it before the tree is frozen. To take it over, which is for one dump
 * alone, fails with the reason if nobody has watched the tree since; nothing is lost then.
 */
struct since;
int since_open(struct image *, struct since **ret, struct crcore_error *);
int since_take(struct since *, struct crcore_error *);
uint64_t since_length(const struct since *); /* bytes of pages that it and its ancestors have */
void since_free(struct since *); /* NULL is fine */

/*
 * Save stage, all tasks frozen: copies to page files what was not copied ahead (watch,
 * or NULL). later: the tree waits to go on, so what is not too much (128 MiB) is only
 * copied to our memory. Regions that crcore mapped are left out (see vmas_read: call it
 * before the injection). Finish, which needs no tree: writes what is not yet, fills the
 * runs of every mm and the segments. *ret is to be freed, also after a failure.
 */
struct memory_stats { uint64_t scanned, zero, stored, shared, ahead; /* pages */ };
/* What plugins hand over is saved like a segment, which says whose it is. */
struct contents { const char *plugin; uint64_t key; int fd; };
struct save;
int memory_save(struct tree *, struct image *, struct watch *, bool later, const struct contents *,
                unsigned ncontents, struct save **ret, struct crcore_error *);
int memory_finish(struct save *, Crcore__Segment ***ret_segments, unsigned *ret_nsegments,
                  struct memory_stats *, struct crcore_error *);
void memory_free(struct save *); /* NULL is fine */

/* -- restore: layout.c ------------------------------------------------------ */
/*
 * What each address space has to do so that shared pages come back shared.
 * Computed from the Mm records and the task tree only (no privileges, unit
 * tested). See docs/architecture.md, "Memory".
 *
 * Who makes an mm: the first task (in the order of the image) that has it. What
 * it is born with is the memory of another mm as that was at that moment; so an
 * mm goes through the moments at which it is copied, and is itself only then.
 *
 * First: vdso and vvar move to their addresses in this mm; they and the region
 * are never touched by what follows. Then, for one mm, in this order:
 *   steps:  one for each moment at which a child (or CLONE_VM sharer, or zombie)
 *           is cloned. Before the clone: make the next nmaps of stage, then the
 *           next nfills of stage_fills. All steps of all tasks that share the mm
 *           happen in the order given: those of the first task come first. Only
 *           when the last has been cloned may the first task go on with:
 *   moves:  mremap(from, len, len, MAYMOVE|FIXED, to) of staged or inherited ranges
 *           (ordered so that none is overwritten; may pass through scratch space)
 *   drops:  ranges to unmap (inherited or staged, not kept)
 *   maps:   mappings to make afresh (MAP_FIXED): a whole VMA or a part of it
 *   zaps:   pages to throw away with MADV_DONTNEED
 *   fills:  pages to read into place (pages that are here but not the right ones included)
 *   guards: MADV_GUARD_INSTALL (102)
 *   then the final mprotect, madvise, mlock, name of every VMA of the record, in one
 *   call each from vma start to vma end.
 * Private mappings in stage and maps are made readable and writable, with the
 * flags of their vma (grows_down, noreserve, hugetlb, droppable; private always) and
 * MADV_HUGEPAGE or NOHUGEPAGE of its advice at once, all else at the end. Shared
 * ones get their own protection at once and have no fills. VDSO, VVAR and
 * VSYSCALL are in no list. All arrays are in address order but moves and stage.
 */
struct layout_map { const Crcore__Vma *vma; uint64_t start, end; uint64_t offset; };
struct layout_move { uint64_t from, to, len; };
struct layout_range { uint64_t start, end; };
struct layout_fill { uint64_t addr, pages, file_offset; };
struct layout_step {
	unsigned parent;        /* index of the task that clones */
	unsigned child;         /* index of the task cloned: the first of its moment */
	unsigned nmaps, nfills; /* how many of stage and stage_fills belong to this step */
};
struct layout {
	uint32_t mm;
	struct layout_step *steps; unsigned nsteps;
	struct layout_map *stage; unsigned nstage;
	struct layout_fill *stage_fills; unsigned nstage_fills;
	struct layout_move *moves; unsigned nmoves;
	struct layout_range *drops; unsigned ndrops;
	struct layout_map *maps; unsigned nmaps;
	struct layout_range *zaps; unsigned nzaps;
	struct layout_fill *fills; unsigned nfills;
	struct layout_range *guards; unsigned nguards;
};
/* How a task comes to its memory. */
struct layout_birth {
	int parent;      /* index of the task whose memory it is born with; -1: none, the root */
	unsigned moment; /* tasks of one parent with the same moment copy its memory at the
	                  * same time (one helper clones them all); else distinct numbers */
	unsigned rank;   /* moments of one parent happen in the order of their ranks;
	                  * within a rank the plan chooses the order */
};
/* Tasks with parents before children, as in the image; mms validated. births: one
 * for each task, or NULL: each is cloned by the task that ppid names. lost: pages
 * that will come back as copies instead of shared (0 but in odd histories).
 * region: the range that every task keeps for the interpreter; free in all. */
struct layouts {
	struct layout *v; unsigned n; uint64_t region_start; uint64_t lost;
	uint64_t scratch, scratch_end; /* addresses that are free wherever maps are made */
};
int layouts_plan(Crcore__Task *const *tasks, unsigned ntasks, const struct layout_birth *births,
                 Crcore__Mm *const *mms, unsigned nmms, uint64_t region_size,
                 struct layouts *ret, struct crcore_error *);
void layouts_free(struct layouts *);
/* Checks an Mm record read from an image: order, overlap, alignment, runs inside
 * mappings, references to other mms, offsets within pages_len. *room: so many more ranges may all
 * that is referred to come to; at first ranges_most(). */
int mm_validate(const Crcore__Mm *, Crcore__Mm *const *mms, unsigned nmms, uint64_t pages_len,
                uint64_t *room, struct crcore_error *);
/* The same for all that an image has, once pages_open() has opened its ancestors; what an mm has
 * of those (kept) becomes runs that say where the bytes are. Behind this nobody sees the former. */
struct core_records;
int memory_runs(struct image *, struct core_records *, uint64_t pages_len, struct crcore_error *);
/* A few runs can refer to many, again and again, in every address space. So what all pages of an
 * image come to, as ranges, is bounded by the memory of the machine: how many there may be. */
uint64_t ranges_most(void);
int ranges_too_many(const Crcore__Mm *, struct crcore_error *);
/* In runs of ascending addresses: the first that ends behind addr; n: none. */
size_t runs_behind(Crcore__Run *const *v, size_t n, uint64_t addr);
#endif
