/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dump, seen from inside: what is known of a tree at one moment (survey),
 * and the stages that look at it while it runs, freeze it, and save it.
 */
#ifndef CRCORE_DUMP_H
#define CRCORE_DUMP_H

#include <fcntl.h>
#include "core/host/host.h"
#include "core/image/image.h"
#include "core/memory/memory.h"
#include "core/policy/command.h"
#include "core/task/namespaces.h"
#include "core/task/task.h"
#include "core/task/witness.h"

/* All that would keep a tree from being saved, not only the first. */
struct blockers {
	struct blocker {
		struct crcore_error err;
		uint64_t looks;        /* a hash of what the object looked like; 0: it is a task */
		bool lasts;            /* not only of a moment of a tree that runs (live.c) */
	} *v;
	unsigned n;
	unsigned nalone;               /* so many concern a task or object by itself, those behind them
	                                * what others of the tree are */
};
struct object;
/* Moves err there, clears it. o: NULL: of a task. */
void blockers_take(struct blockers *, const struct object *o, struct crcore_error *);
/* One error line for all that last: the first, and how many more there are. 0: there are none. */
int blockers_refuse(const struct blockers *, pid_t root, struct crcore_error *);
void blockers_free(struct blockers *);

/* An object of the tree and whose it is. */
struct object {
	struct crcore_object abi;      /* what plugins see; abi.id is 0 until numbered */
	struct task *task;             /* a holder */
	struct crcore_ctx *owner;      /* NULL: not claimed */
	char path[64];                 /* relative to the holder's /proc/PID: "fd/3", "exe" */
	char *link, *fdinfo;
	bool found;                    /* abi.fd is our own, until the end */
	bool kept;                     /* abi.local_fd is open from claim to save */
	bool async;                    /* O_ASYNC, which plugins do not see */
	struct f_owner_ex told;        /* whom signals tell of events; pid 0: nobody */
	int signal;                    /* F_SETSIG */
};

struct objects {
	struct object **v;             /* by id - 1 */
	unsigned n;
	unsigned keep;                 /* how many may be kept open; 0 while the tree runs */
};

/* Tasks in the order of what they share (share.c), by pid. */
struct orders { struct order { pid_t *v; unsigned n; } of[4]; };
void orders_free(struct orders *);

/* unchanged.c: lists of mappings that a survey of the running tree has read, for that of the frozen
 * one: where the kernel says that nothing was changed since, the list need not be read again. */
struct lists { struct list_of *v; unsigned n; };
/* Takes the list over; does not fail: what is not kept is read again. */
void lists_keep(struct lists *, const struct task *, struct vma_list *);
/* Once all are kept. */
void lists_sort(struct lists *);
/* Of a task at another moment; NULL: none, or it may have changed. For a task only once. */
struct vma_list *lists_take(const struct lists *, const struct task *);
void lists_free(struct lists *);

/* Namespaces (places.c). */
#define PLACES 16
struct place { char name[40], link[64]; bool of_root; /* seen just now */ };
struct places { struct place v[PLACES]; unsigned n; const struct task *root; };

struct survey {
	struct tree tree;
	struct objects objects;
	bool incomplete;               /* there is more that only a frozen tree shows */
	bool quick;                    /* what is costly to see and hardly ever matters, the look at
	                                * the frozen tree will show */
	Crcore__Files **files; unsigned nfiles;
	Crcore__Fs **fs; unsigned nfs;
	Crcore__Sighand **sighands; unsigned nsighands;
	Crcore__Segment **segments; unsigned nsegments;
	struct watch *watch;           /* borrowed; of the frozen tree, if it was watched */
	const struct flags *flags;     /* borrowed; NULL: flags of mappings are read from smaps */
	struct orders orders;          /* found here, or by an earlier survey of the tree */
	struct lists lists;            /* the same */
	struct places ours;            /* the same */
};

/* share.c: who shares address space, descriptor table, directories, signal
 * actions. Fills the ids of the task records, tree.mms and the empty records. */
int survey_sharing(struct survey *, struct crcore_error *);

/* objects.c: finds what tasks hold and offers it to the plugins. With blockers,
 * goes on after an object that nobody can save. */
int survey_objects(struct survey *, struct host *, struct blockers *, struct crcore_error *);
/* Opens abi.local_fd for one call of a hook, and closes it. Of a frozen tree some
 * stay open up to save, so that they are fetched once and not again and again. */
void objects_keep(struct objects *);
int object_open(struct object *, struct crcore_error *);
void object_close(struct object *);
void objects_free(struct objects *);
/* Has each saved by its plugin. */
int survey_save_objects(struct survey *, struct host *, struct crcore_error *);
/* owner.c: fills in whom a description's signals go to; refuses one outside. */
int object_owner(struct object *, const struct tree *, struct crcore_error *);
Crcore__Owner *object_owner_record(const struct object *, Crcore__Owner *); /* NULL: none */
/* descriptors.c: the descriptor tables; files.c: exe, cwd, root, mappings. */
int survey_descriptors(struct survey *, struct crcore_error *);
int survey_references(struct survey *, struct blockers *, struct crcore_error *);
/* found.c: of a plugin, between claim and review: the id of the object whose description fd is. */
int survey_found(struct survey *, int fd, struct crcore_error *);
/* Appends an object (takes it over); -ENOMEM. */
int objects_add(struct objects *, struct object *, struct crcore_error *);

/* survey.c: learns what the kernel can tell of all mappings and tasks at once, where that is worth
 * it, and tells what tasks of a tree that runs have in common. */
void survey_prepare(struct flags *, struct alike_how *, struct tree *);
/* Everything above for a tree that tree_look or tree_freeze filled, and whether the
 * command allows its session (--shell-job). */
int survey_look(struct survey *, const struct command *, struct host *, struct blockers *,
                struct crcore_error *);
/* live.c: the same of a tree that runs, more than once if there are blockers. -EAGAIN if it changed
 * under the look (survey_changed), so that what seems to be outside the tree may be a task that was
 * just born. */
int survey_look_live(struct survey *, const struct command *, struct host *, struct blockers *,
                     struct crcore_error *);
void survey_free(struct survey *);
/* Does this result mean that the tree changed under the look? Not a blocker, then. */
bool survey_changed(int r);

/* tasks.c: fills the records of all tasks of a frozen tree, as far as that goes from outside. */
int survey_collect(struct survey *, struct crcore_error *);

/* ahead.c: memory copied while the tree runs, or saved by an earlier dump. */
struct ahead {
	struct survey survey;          /* the tree when that began */
	struct watch *watch;           /* NULL: nothing was copied ahead */
	uint64_t stood_ns;             /* how long the tree stood still for it */
	const struct flags *flags;     /* borrowed; how flags of mappings are read */
	struct unmarked unmarked;      /* found before the tree was stopped for the first time */
	struct since *since;           /* the image before; NULL: none, or of no use */
	Crcore__Parent parent;         /* ... as the manifest names it */
	bool rounds;                   /* copy while the tree runs */
	bool track;                    /* keep the watch up for the next dump ... */
	bool kept;                     /* ... which somebody does by now */
	bool must;                     /* the policy says so: what keeps us from it is an error */
	bool unsure;                   /* what keeps us from it is not known yet */
};
/* 1: worth it, 0: not, or the policy says no. complete: the tree did not change while it
 * was looked at. goes_on: it is to run on. */
int ahead_wanted(struct ahead *, const struct survey *live, bool complete,
                 const struct command *, bool goes_on, struct crcore_error *);
/* How the tree is stopped, let run, and woken and laid to rest around programs of ours. */
struct ahead_means {
	int (*freeze)(void *arg, struct tree *, struct crcore_error *);
	void (*thaw)(void *arg, struct tree *, enum leave);
	int (*wake)(void *arg, uint32_t how, struct crcore_error *);
	int (*rest)(void *arg, struct crcore_error *);
	void *arg;
};
int ahead_copy(struct ahead *, const struct ahead_means *, struct image *, uint64_t timeout_ns,
               struct crcore_error *);
/* Is the image made on the one before? Then the manifest must say so. */
bool ahead_continues(const struct ahead *);
void ahead_end(struct ahead *, bool runs); /* runs: the tree goes on, and is not paused */
/* previous.c: opens the image that this one is to be made on, and checks that it is of the
 * same tree. lives: the tree goes on, and can be tracked. */
int previous_open(struct ahead *, const struct command *, bool lives, struct crcore_error *);
/* Seals the image; with a watch to be kept up, starts the process that does. */
int seal_tracked(struct ahead *, struct image *, Crcore__Manifest *, struct crcore_error *);

/* places.c: refusals that concern the task as a whole (namespaces, tracer ...). */
/* Finds the namespaces of a tree's first task that are not ours, and enters those in which
 * paths and objects are named. */
int places_enter(struct namespaces *, pid_t root, struct host *, struct crcore_error *);
/* Our own namespaces, each by its name and what it leads to; ret: empty, or of an earlier look. */
int places_ours(const struct task *root, struct places *ret, struct crcore_error *);
/* filters: a plugin keeps what seccomp allows a thread. By any thread. */
int task_check_place(struct task *, const struct places *ours, bool filters, struct crcore_error *);
/* A root whose session or group is led by somebody outside needs dump.shell-job. */
int tree_check_session(const struct tree *, bool shell_job, struct crcore_error *);

/* needs.c: what the kernel and our capabilities must offer; each test of a
 * behaviour. table: for `check`. */
struct need_result { const char *what; bool ok; char why[160]; };
int needs_check(struct crcore_error *);
unsigned needs_list(struct need_result *ret, unsigned max);

/* questions.c: what only the tasks can tell, asked of all of them at once. */
struct questions {
	struct tree *tree;
	struct host *host;
	struct inject **injects;  /* one per address space, and more for later rounds */
	unsigned ninjects;
	struct again { struct thread *thread; prog *prog; } *again; /* programs of later rounds */
	unsigned nagain;
	struct witnesses witnesses;
};
/* Writes the first program of every thread: the core's questions and the plugins'. */
int questions_write(struct questions *, struct crcore_error *);
/* Runs them, and those that plugins add when they see the answers (timeout in ns). Nothing
 * of crcore is in a task then. */
int questions_run(struct questions *, uint64_t timeout_ns, struct crcore_error *);
int questions_answers(struct questions *, struct crcore_error *);
/* Takes everything out of the tasks; what we have of it stays. Never fails. */
void questions_leave(struct questions *);

/* records.c: makes the image as the policy says, writes the records of the core, fills the
 * manifest. */
int make_image(const struct command *, struct image **ret, struct crcore_error *);
int save_records(struct survey *, struct image *, struct crcore_error *);
int fill_manifest(const struct survey *, struct host *, const struct command *, Crcore__Manifest *,
                  struct crcore_error *);
void clear_manifest(Crcore__Manifest *);

/* end.c: all or nothing for a tree that is killed: it ends, whatever becomes of us, once
 * ending_sealed() was called. *ret stays NULL where nothing could be left half done. */
struct ending;
int ending_begin(const struct tree *, const struct pauses *, struct host *, struct ending **ret,
                 struct crcore_error *);
void ending_sealed(struct ending *);
void ending_end(struct ending *);
#endif
