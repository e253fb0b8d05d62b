/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A restore, while it is made: what the files of this folder share.
 *
 * load -> plan -> create -> run -> settle -> release, all in the worker; main
 * only clones the first task (root.c), so that it can wait for it. Up to the
 * end of `plan` nothing exists and everything that can be refused is refused.
 *
 *   load.c objects.c segments.c   records, the objects of plugins, shared memory
 *   births*.c pids.c machine.c    what the tree needs of the kernel
 *   arena.c program*.c            the region and the programs in it
 *   run.c root.c feed.c           stubs carry the programs out
 *   settle.c leave.c end.c        registers, letting go; or taking all back
 */
#ifndef CRCORE_RESTORE_H
#define CRCORE_RESTORE_H

#include "core/host/host.h"
#include "core/image/core_records.h"
#include "core/image/pages.h"
#include "core/memory/memory.h"
#include "core/policy/command.h"
#include "core/program/program.h"
#include "core/restore/births.h"
#include "core/task/machine.h"
#include "core/task/namespaces.h"
#include "core/util/util.h"
#include "core/util/worker.h"

/* The region of the whole tree: one memfd, at the same address everywhere. */
struct arena {
	int memfd;
	uint8_t *local;       /* the coordinator's mapping of it */
	uint64_t remote;      /* address in every task */
	uint64_t size;        /* of the hole there: region and parking place */
	uint64_t limit, used; /* of the region, bytes */
	bool alive;           /* its life word is ours */
	bool abandoned;       /* ... and says that we have given up */
	uint64_t park;        /* address where vvar and vdso wait for their place */
};

#define PARK_SIZE (64 * PAGE)

/* What processes can share; the first that has it builds it, when all who share
 * it are ready for that. */
enum share { SHARE_MM, SHARE_FILES, SHARE_FILES_LATE, SHARE_SIGHAND, NSHARES };

/* One process: a birth with its programs. */
struct stub {
	struct restore *r;
	unsigned birth;           /* index in births */
	const Crcore__Task *rec;  /* NULL: a helper */
	const Crcore__Mm *mm;     /* NULL: none that it builds (helper, zombie, or not the owner) */
	const Crcore__Files *files;
	const Crcore__Fs *fs;
	const Crcore__Sighand *sighand;
	prog *p;                  /* of the leader */
	prog **threads;           /* of the others: rec->n_threads - 1 */
	uint64_t at, *threads_at; /* addresses of the placed programs */
	uint32_t spawn_op;        /* of its creator: clones it */
	uint64_t arrivals;        /* address of the word that reporters add to */
	unsigned reporters[3];    /* at BORN, GROUPED, later */
	unsigned first_born, next_born;   /* whom it clones, in order, by birth; 0: none, no more */
	unsigned first_child, next_child; /* tasks whose parent it is; the same */
	uint64_t threads_word;    /* ... its other threads add to, when they are ready */
	uint64_t actions_word;    /* ... tells that signal actions are set */
	uint64_t stop_word;       /* ... tells that it may be stopped */
	struct sharing { unsigned n; uint64_t word; } share[NSHARES]; /* those that share with it */
	struct stub *owner[NSHARES]; /* itself, or whose thing it shares */
	uint32_t *resume_op;      /* per thread: the call that is to be interrupted, or UINT32_MAX */
	bool *held;               /* per thread: it ends only when all are traced (program_held.c) */
	uint64_t held_word;       /* ... tells that what the leader does then is done */
};

enum barrier { BORN, GROUPED, FAMILY, BUILT, NBARRIERS };

struct object_fd {
	uint32_t id;
	int fd;                   /* in the worker, or in a bank */
	uint32_t bank;            /* 0: the worker; else 1 + index of the bank */
	uint8_t state;
	bool has_owner;
	struct crcore_ctx *owner;
	Crcore__Object *rec;
};
#define BANKS_MAX 6
struct bank { pid_t pid; int pidfd; };
struct owner { unsigned birth; uint32_t fd; const Crcore__Owner *rec; }; /* program_owner.c */
struct segment_fd { uint32_t id; int fd; };

/* Shared by worker and main. */
struct pidfile {
	const char *path;            /* NULL: none */
	int dir;                     /* where it goes */
	bool written;
};

struct restore {
	struct command *cmd;
	struct worker *worker;
	bool only_plan;              /* --plan: nothing is created or asked of the machine */
	bool shell_job;
	struct image *image;
	const Crcore__Manifest *manifest;
	struct core_records rec;
	struct host *host;
	struct crcore_task *tasks;   /* what plugins see, parallel to rec.tasks */
	pid_t *tids;
	struct births births;
	struct layouts layouts;
	unsigned *layout_task;       /* birth of each task in the order given to layouts_plan() */
	struct object_fd *objects;   /* by id */
	unsigned nobjects;
	unsigned making;             /* objects that are: each is needed by the one before */
	struct owner *owners;
	unsigned nowners;
	struct segment_fd *segments; /* by id */
	struct pages *pages;
	struct specials specials;    /* as this process has them, and so the first task */
	struct own *own;             /* what stubs start with (own.c) */
	struct arena arena;
	struct bank banks[BANKS_MAX];
	unsigned nbanks;
	int coordinator_fd;          /* number of the worker's pidfd in the tasks; banks' follow */
	bool files_shared;           /* some tasks share a table: their numbers must not clash */
	struct stub *stubs;          /* parallel to births.v */
	uint64_t go[NBARRIERS];      /* addresses of words */
	uint64_t round_word, *round_ready, *round_done;
	unsigned *round_helpers;     /* so many exit in each round */
	const struct layout **layout_at; /* of each address space, parallel to rec.mms */
	uint64_t resume_word;        /* the worker's: interrupted waits may go on */
	struct feeds *feeds;         /* NULL: tasks read all their pages themselves (feed.c) */
	uint64_t held_word;          /* threads that are held add to it at their end ... */
	unsigned nheld;              /* ... this many */
	pid_t *numbers;              /* all pids and tids of the tree, ascending */
	unsigned nnumbers;
	pid_t free_below;            /* where to look for a free number next */
	bool root_asked;             /* main was asked to clone: something may exist */
	pid_t root_pid, main_pgid;
	struct fate *fate;           /* of the host, and of main */
	const struct namespaces *join; /* what the tree joins */
	struct pidfile *pidfile;
	bool wants_lazy;             /* restore.lazy, and the kernel can do it */
	struct lazy *lazy;           /* lazy.c; NULL: all is read before the tree runs */
	bool paused;                 /* release() has left tasks that do not run */
};

/* load.c */
int restore_load(struct restore *, struct crcore_error *);
void restore_unload(struct restore *);
/* pidfile.c */
int pidfile_open(struct pidfile *, const char *path, struct crcore_error *); /* main */
int pidfile_write(struct restore *, struct crcore_error *);
void pidfile_remove(void *); /* what was written */
void pidfile_close(struct pidfile *);
/* The processes and what they share; all refusals that need no machine. */
int restore_plan(struct restore *, struct crcore_error *); /* plan.c */
/* machine.c: capabilities, limits, processor, vdso, kernel features. */
int machine_check(struct restore *, struct crcore_error *);
/* nodes.c: NUMA policies, for a machine with these nodes. any: those that name none of them are
 * left out, instead of refused. */
int nodes_fit(const struct core_records *, const uint8_t *allowed, bool any,
              struct crcore_error *);

/* pids.c */
int pids_check(struct restore *, struct crcore_error *);
int pids_choose(struct restore *, struct crcore_error *); /* free numbers for helpers */
pid_t pids_free(struct restore *);                        /* one more */
void pids_explain(struct restore *, pid_t pid, struct crcore_error *); /* who has it? */

/* objects.c */
int objects_load(struct restore *, struct crcore_error *);
int objects_create(struct restore *, struct crcore_error *);
struct object_fd *object_find(const struct restore *, uint32_t id); /* NULL: none */
int object_need(struct restore *, uint32_t id, struct crcore_error *); /* made if need be */
int object_fd(struct restore *, uint32_t id, struct crcore_error *); /* created by now */
bool object_is_made(const struct object_fd *);
/* The lowest number behind those of the worker and the banks. */
static inline int spare_fd(const struct restore *r)
{
	return r->coordinator_fd + 1 + (int)r->nbanks;
}

/* The number by which a process has its executable for a moment. Before, it has it by the lowest
 * that is free: where tables are shared as many as there are processes are left for that, or it
 * might be the number of another, or its own. */
static inline int executable_fd(const struct restore *r, unsigned birth)
{
	return spare_fd(r) + (r->files_shared ? (int)(r->births.n + birth) : 0);
}

/* How many numbers from coordinator_fd on the tree's tables must not have. */
static inline unsigned kept_fds(const struct restore *r, unsigned nbanks, bool files_shared)
{
	return 1 + nbanks + (files_shared ? 2 * r->births.n : 0) + 1;
}

/* What object_fd() gives, and fetch_fd() takes, is a number and in whose table it is:
 * 0 the worker's, else that of a bank. */
#define HOLDER_SHIFT 24
static inline int fd_in(unsigned holder, int fd)
{
	return fd < 0 ? fd : (int)(holder << HOLDER_SHIFT) | fd;
}

static inline int fd_holder(int in) { return in < 0 ? 0 : in >> HOLDER_SHIFT; }
static inline int fd_number(int in) { return in < 0 ? in : in & ((1 << HOLDER_SHIFT) - 1); }
/* banks.c */
int banks_threshold(void);   /* when the worker has this many, to a bank with them */
int banks_deposit(struct restore *, struct crcore_error *);
int banks_withdraw(struct restore *, struct object_fd *, struct crcore_error *);
void banks_close(struct restore *);
void objects_close(struct restore *);
int segments_create(struct restore *, struct crcore_error *); /* segments.c */
int segment_fd(struct restore *, uint32_t id);
/* Fills a plugin's file with what was saved under the plugin's key, if anything was. */
int contents_load(struct restore *, const char *plugin, uint64_t key, int fd,
                  struct crcore_error *);
/* run_as.c: fn in a process of its own with that pid (0: any). */
int run_as(pid_t pid, int (*fn)(void *), void *arg, struct crcore_error *);
/* objects.c: lets the object's plugin map it. 1: it did; 0: it is mapped as any file. */
bool object_maps(struct restore *, uint32_t id);
int object_map(struct restore *, uint32_t id, const struct crcore_mapping *const *, uint32_t n,
               prog *, struct crcore_error *);

/* verify.c: checksums, with restore.verify; before anything is made */
int restore_verify(struct restore *, struct crcore_error *);
/* lazy.c: memory that is loaded on demand */
int lazy_plan(struct restore *, struct crcore_error *);   /* takes fills out of the layouts */
int lazy_begin(struct restore *, struct crcore_error *);
/* lazy_segments.c: is it the pager's? Then it is given to it, without pages. */
bool lazy_segment(const struct restore *, const Crcore__Segment *, unsigned *ret);
int lazy_segment_give(struct restore *, unsigned, int fd, struct crcore_error *);
void lazy_build(struct stub *);
uint32_t *lazy_word(const struct restore *); /* changes when a task waits; NULL: none will */
int lazy_serve(struct restore *, struct crcore_error *);   /* whoever waits; did the pager fail? */
int lazy_keep(struct restore *, struct crcore_error *);    /* the tree is about to run */
void lazy_end(struct restore *);

/* arena.c */
void arena_size(struct restore *); /* of all programs, by the records */
int arena_open(struct restore *, struct crcore_error *);
void arena_close(struct arena *);
void arena_abandon(struct arena *);
uint64_t arena_word(struct arena *); /* address of a fresh zeroed word; 0: full */
uint64_t arena_put(struct arena *, const void *bytes, size_t len); /* address of a copy; 0: full */
struct region *arena_region(const struct arena *);
void *arena_local(const struct arena *, uint64_t remote);
int arena_place(struct arena *, prog *, uint64_t *ret_at, struct crcore_error *);

/* programs.c: builds and places all; program_*.c: the parts of one process */
int programs_build(struct restore *, struct crcore_error *);
/* The lowest number that begins n which no descriptor of the tree has. */
unsigned free_descriptors(const struct restore *, unsigned n);
void share_ready(struct stub *, enum share); /* a sharer tells the owner ... */
void share_wait(struct stub *, enum share);                        /* ... who waits for all */
int process_build(struct stub *, struct crcore_error *);           /* program_task.c */
int spawn_children(struct stub *, struct crcore_error *);          /* program_births.c */
void family_build(struct stub *);                                  /* program_family.c */
void barrier_arrive(struct stub *, enum barrier);
void barrier_wait(struct stub *, prog *, enum barrier);
void first_begin(struct stub *);                                   /* program_first.c */
void specials_unpark(struct stub *);
const struct layout *layout_of(const struct stub *);               /* program_memory.c */
int memory_step(struct stub *, const struct layout *, unsigned step, struct crcore_error *);
int memory_build(struct stub *, struct crcore_error *);
#define FILL_CALL (2u << 20) /* bytes that it reads at most with one call */
#ifndef MADV_POPULATE_WRITE /* linux/mman.h of 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
/* What was mapped just before; whole: each to the end of what is to be one mapping. */
struct fresh { const struct layout_map *v; unsigned n; bool whole; };
int fills_build(struct stub *, const struct layout_fill *, unsigned n, const struct fresh *,
                struct crcore_error *);
/* feed.c: pages that crcore puts into place. Is it so much that a task reads none of it itself? */
bool feed_takes(const struct layout_fill *, unsigned n);
/* Divides fills: those that the task is to read itself into own; asks for the others, if there are
 * any (*ret_asked), which are then waited for. */
struct fills { struct layout_fill *v; unsigned n; };
int feed_ask(struct stub *, const struct layout_fill *, unsigned n, const struct fresh *,
             struct fills *own, bool *ret_asked, struct crcore_error *);
void feed_wait(struct stub *); /* for what it asked for last */
int feeds_begin(struct restore *, struct crcore_error *); /* once the programs are placed */
int feeds_failure(struct restore *, struct crcore_error *);
void feeds_end(struct restore *);
void feeds_free(struct restore *);
int mm_map_build(struct stub *, struct crcore_error *);            /* program_mm.c */
void mm_close(struct stub *); /* what it may map from now on: after all that is mapped */
void mappings_finish(struct stub *, const struct layout *);
int files_build(struct stub *, struct crcore_error *);             /* program_files.c */
int fs_build(struct stub *, struct crcore_error *);
int owners_find(struct restore *, struct crcore_error *);          /* program_owner.c */
void owners_build(struct stub *);
void threads_spawn(struct stub *);                                 /* program_thread.c */
int thread_build(struct stub *, unsigned thread, struct crcore_error *);
void thread_attributes(prog *, const struct own *, const Crcore__Thread *);
void thread_creds(prog *, const struct own *, const Crcore__Thread *);
int held_look(struct stub *, struct crcore_error *);               /* program_held.c */
int held_build(struct stub *, prog *, unsigned thread, struct crcore_error *);
void held_end(struct stub *, prog *, unsigned thread);
uint64_t held_size(struct restore *);
void thread_resume(struct stub *, prog *, unsigned thread);        /* program_resume.c */
void creds_build(prog *, const struct own *, const Crcore__Creds *); /* program_creds.c */
void signals_build(struct stub *);                                 /* program_signals.c */
void pending_build(struct stub *, prog *, unsigned thread);
int timers_create(struct stub *, struct crcore_error *);           /* program_timers.c */
void timers_arm(struct stub *);
/* Appends what makes a descriptor of the coordinator one of the task. */
uint32_t fetch_fd(struct restore *, prog *, const char *label, int fd);
void close_fd(prog *, uint32_t op);

/* own.c: the attributes of this process, which stubs inherit: no operation
 * is needed where a thread had the same. */
struct own {
	Crcore__Creds creds;
	uint8_t sched[56];
	uint8_t affinity[1024];
	size_t affinity_len;
	uint32_t ioprio, personality;
	uint64_t slack;
	int oom_score_adj;
	uint32_t coredump_filter;
	int memory_policy;      /* MPOL_* */
	uint32_t thp_disable;   /* as PR_GET_THP_DISABLE gives it */
	bool memory_merge;
	bool restore_timer_ids; /* PR_TIMER_CREATE_RESTORE_IDS */
	bool anon_names;        /* PR_SET_VMA_ANON_NAME */
};
int own_read(struct own **ret, struct crcore_error *);
bool creds_equal(const Crcore__Creds *, const Crcore__Creds *);
bool groups_equal(const Crcore__Creds *, const Crcore__Creds *); /* in their groups, that is */

/* root.c, in main */
struct root_request { /* worker to main; with it come memfd and pidfds */
	uint64_t region, size, entry, program, stack;
	int coordinator_fd;
	int npidfds;
	pid_t pid;
	bool sibling;
};
/* pidfds: of the worker, and of its banks */
int root_clone(const struct root_request *, int memfd, const int *pidfds, struct crcore_error *);

/* run.c */
int restore_run(struct restore *, struct crcore_error *);
/* Anything that ends a wait for programs: a failure, the deadline; *look: when to look
 * for tasks that are gone. */
int run_check(struct restore *, uint64_t deadline, uint64_t *look, struct crcore_error *);
/* settle.c */
int restore_settle(struct restore *, struct crcore_error *);
int restore_release(struct restore *, struct crcore_error *);
/* leave.c: of all tasks at once, each through its first thread, which is stopped. */
int restore_leave_region(struct restore *, struct crcore_error *);
/* A task that runs once restored, no helper and no zombie. */
static inline bool is_live(const struct stub *s)
{
	return s->rec && !s->r->births.v[s->birth].zombie;
}

/* pact.c: the tree is ended should we be killed when only some of it has been let go, until
 * wills are void. */
int pact_begin(struct restore *, struct crcore_error *);
/* end.c: kills what was created, whatever state it is in. */
void restore_kill(struct restore *);
/* run.c: the error of the first operation that failed; 0: none has. */
int run_failure(struct restore *, struct crcore_error *);
/* The error for that: by whom is not told. */
int task_was_killed(pid_t, struct crcore_error *);
/* Pids of tasks, by what their creators' operations say; 0: not born (yet). */
pid_t born_pid(const struct restore *, unsigned birth);

/* print.c */
void restore_print(struct restore *, FILE *);

#endif
