/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving memory, between its files: which pages there are (pages.c), which are
 * the same (frames.c), what is shared on purpose (segments.c), and the copying
 * (store.c). save.c drives them.
 */
#ifndef CRCORE_MEMORY_SAVE_PRIV_H
#define CRCORE_MEMORY_SAVE_PRIV_H

#include "core/memory/memory.h"
#include "core/memory/spans.h"
#include "core/util/util.h"

/* ---- runs: a growing list ------------------------------------------------------ */
struct runs { Crcore__Run **v; size_t n; };
/* Appends a run, or grows the last one where it goes on. */
int runs_add(struct runs *, uint64_t addr, uint64_t pages, Crcore__Source, uint64_t offset,
             uint32_t mm, struct crcore_error *);
/* Sorts by address and joins neighbours. */
int runs_sort(struct runs *, struct crcore_error *);
/* Appends all of from, which has none then. */
int runs_move(struct runs *, struct runs *from, struct crcore_error *);
void runs_clear(struct runs *);

/* ---- pages.c -------------------------------------------------------------------- */
enum page_sort { PAGES_DATA, PAGES_ZERO, PAGES_GUARD };
struct page_range { uint64_t start, end; enum page_sort sort; };
struct page_list { struct page_range *v; size_t n; };
int page_list_add(struct page_list *, uint64_t start, uint64_t end, enum page_sort,
                  struct crcore_error *); /* behind the last, or makes that longer */
struct pagemap {
	int fd;
	bool no_scan, no_guard; /* what the kernel turned out to lack */
	pid_t pid;
};
/* Appends the ranges in [start,end) that hold pages of their own: anonymous
 * pages, those of private mappings that were modified. Of shared memory, none.
 * anon: there are no mappings of files, which is faster to look at. */
int pages_find(struct pagemap *, uint64_t start, uint64_t end, bool anon, struct page_list *,
               struct crcore_error *);
/* Of anonymous memory that is watched: appends to pages what was written to since the last
 * look and still is there; to other all that is not certain to be as it was at that look
 * (what was written to, or is not there, or is not watched). */
int pages_unclean(struct pagemap *, uint64_t start, uint64_t end, struct page_list *pages,
                  struct spans *other, struct crcore_error *);
/* The look: appends what was written to since the last one; from now on it is clean. */
int pages_written(struct pagemap *, uint64_t start, uint64_t end, struct spans *ret,
                  struct crcore_error *);
/* Appends what is not under watch. */
int pages_untracked(struct pagemap *, uint64_t start, uint64_t end, struct spans *ret,
                    struct crcore_error *);
/* Is a mapping, or what is left of it, under a watch that only looks afterwards? */
bool pages_tracked(const struct pagemap *, uint64_t start, uint64_t end);
/* Appends what is not watched, but marked as if it were and had not been written to: what is
 * left of a watch that ended when the mapping became one with its neighbour. */
int pages_marked(struct pagemap *, uint64_t start, uint64_t end, struct spans *ret,
                 struct crcore_error *);
/* The raw entries of n pages from addr. */
int pages_entries(const struct pagemap *, uint64_t addr, uint64_t *ret, size_t n,
                  struct crcore_error *);

/* ---- frames.c ------------------------------------------------------------------- */
/* Physical pages seen, by frame number: where each was seen first. */
struct frame { uint64_t key, addr; uint32_t mm; /* index in the tree */ bool keep_zero, wanted; };
struct frames { struct frame *v; size_t n, cap; };
/* The entry of key; *ret_new: it was not there, and is filled by the caller. NULL: no memory. */
struct frame *frames_get(struct frames *, uint64_t key, bool *ret_new);

/* ---- store.c -------------------------------------------------------------------- */
/* Where bytes come from: an address space, a segment's file, or a plugin's. */
struct source {
	struct mm *mm;         /* NULL: a segment */
	const struct pagemap *pagemap; /* ... of which only pages that nobody else has are read */
	struct task *task;     /* segment: whose map_files has it ... */
	char map_file[64];     /* ... under this name */
	int fd;                /* neither: a plugin's file, borrowed */
	struct runs *runs;     /* gets the runs stored */
	struct runs *gone;     /* of a tree that runs: gets what was not read */
};
struct job {
	struct source *source;
	uint64_t addr, pages;
	bool gently;   /* not by process_vm_readv, see store.c */
	bool keep_zero;
};
enum { MAX_WORKERS = 8 };
struct store {
	struct image *image;
	struct job *jobs; size_t njobs;
	uint64_t pages;        /* of all jobs */
	bool live;             /* the tree runs: pages may go away, and more runs will follow */
	uint64_t blocks[PAGE_FILES]; /* of each file, written so far */
	uint64_t base;         /* bytes of pages that come before the files' */
	bool later;            /* keep what is copied in memory, up to a point, for store_late() */
	struct late { char *bytes; size_t len; unsigned file; uint64_t block; } *late; size_t nlate;
	uint64_t short_by;     /* what the last block of the first file lacks */
	struct { char *block; uint64_t number, fill; } open; /* live: where the next run goes on */
	char *spare[MAX_WORKERS]; unsigned nspare; /* blocks for it */
	uint64_t zero, stored; /* results */
};
int store_add(struct store *, struct source *, uint64_t addr, uint64_t pages, bool gently,
              bool keep_zero, struct crcore_error *);
/* Copies the pages of all jobs to the image. Pages that are all zero are left
 * out, but where keep_zero is set. */
int store_run(struct store *, struct crcore_error *);
/* The runs that store_run() made say in which file their bytes are; once all is stored, where
 * they are in the row of all pages. */
void store_settle(const struct store *, Crcore__Run *const *, size_t n);
/* Goes on where another, of a tree that ran, ended. */
void store_go_on(struct store *, struct store *from);
/* Writes what store_run() kept. */
int store_late(struct store *, struct crcore_error *);
void store_free(struct store *); /* what is in it */

/* ---- segments.c ------------------------------------------------------------------ */
struct segments {
	Crcore__Segment **v; unsigned n;
	struct source *sources;     /* parallel to v */
	struct runs *runs;
};
/* Gives every mapping of a segment its id, and queues the segments' contents, and
 * those that plugins handed over. */
int segments_find(struct tree *, const struct contents *, unsigned ncontents, struct segments *,
                  struct store *, struct crcore_error *);
void segments_free(struct segments *); /* what was not handed on */

/* ---- find.c, gather.c -------------------------------------------------------------------- */
struct mm_save {
	struct source source;
	struct runs stored, others; /* others: of every other source */
	struct pagemap pagemap;
	const struct spans *saved;  /* of a watched one: what was copied ahead */
	const struct spans *covered; /* the same without where it is, so in fewer pieces */
	struct spans changed;       /* what of it may not be as it was */
	struct spans kept;          /* pages that are as in the image before, ... */
	uint32_t before;            /* ... where it has this id */
};
/* A part of the tree's memory, and the pages in it. Of watched memory: those that were written
 * to, and all that is not certain to be as it was. */
struct area {
	unsigned mm;
	bool anon;
	uint64_t start, end;
	struct page_list pages;
	struct spans other;
};
#define SAVE_BATCH 32768
struct save {
	struct tree *tree;
	struct watch *watch;      /* NULL: nothing was copied ahead */
	struct mm_save *mms;
	struct area *pieces; size_t npieces; /* in the order of the mms, by address */
	struct frames frames;
	struct store store;
	struct segments segments;
	uint64_t *entries;        /* SAVE_BATCH of them */
	struct memory_stats stats;
	bool share;               /* look for shared frames */
	bool forked;              /* the watch does not know all */
};
bool has_own_pages(const Crcore__Vma *);
/* Neighbouring mappings of a sort, from a on, make one scan: holes cost nothing. Returns the
 * index behind them; *own: they may have pages of their own; *anon: none is of a file. */
size_t next_group(const Crcore__Mm *, size_t a, bool *own, bool *anon);
int find_pages(struct save *, struct crcore_error *); /* fills the pieces */
void pieces_clear(struct save *);
/* Fills the runs of every mm that need no copying, and queues what does. */
int gather(struct save *, struct crcore_error *);
/* Later: adds the runs of what was copied ahead and is as it was. */
int gather_kept(struct save *, unsigned mm, struct crcore_error *);
/* What tells a page from all others, or 0 if it need not be told or cannot be. */
uint64_t frame_key(uint64_t entry);

#endif
