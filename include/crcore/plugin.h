/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin ABI of crcore: all that a plugin may include.
 *
 * A plugin is a shared object that exports one symbol, `crcore_plugin`, a
 * const struct crcore_plugin. It links nothing of crcore: what the host can
 * do for it arrives as a table of functions (struct crcore_host). All hooks
 * run in the coordinator (the crcore process), never in a target task; what
 * only a task can do is written as operations into that task's program.
 *
 * Rules
 *  - Structs of this header only grow at their end. Each begins with its
 *    size; read a field added after ABI 1 only if CRCORE_HAS() says it is there.
 *  - A hook returns 0 or a negative errno, and on failure fills err (error.h).
 *  - State lives in the handle that open() returns, never in a static.
 *  - A hook must return within the plugin's time limit (policy key
 *    `time-limit`, 10 s by default); a hook that does not ends the command,
 *    and none of the plugin's hooks is called again.
 *  - A hook must not fork, change signal handlers, credentials, the current
 *    directory or the umask of the process.
 *
 * Life of a plugin
 *
 *   dump:    open -> [observe] -> claim* -> review* -> [freeze: pause, wake, rest;
 *            claim* and review* again] -> ask* -> ask_again* -> [wake, rest] -> hold
 *            -> save_object* -> save -> release -> (seal) -> close
 *   restore: open -> load_record* -> check -> prepare -> plan* -> create* -> map*, emit*
 *            -> emit_thread* -> settle -> release -> done -> close
 *   check:   open -> [observe] -> claim* -> review* -> close  (nothing is changed)
 *   A failure at any point goes to the undo entries, in reverse order, and close.
 */
#ifndef CRCORE_PLUGIN_H
#define CRCORE_PLUGIN_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRCORE_ABI_VERSION 1

/* True if the (possibly older) struct at p is large enough to hold field. */
#define CRCORE_HAS(p, field) \
	((p)->size >= offsetof(__typeof__(*(p)), field) + sizeof((p)->field))

/* ---- objects ----------------------------------------------------------- */

/*
 * What a task holds and the core knows nothing about. The core finds these,
 * tells apart which are one and the same, and offers each to all plugins.
 */
enum crcore_class {
	/* An open file description: reached by one or more descriptors. */
	CRCORE_DESCRIPTION = 1,
	/* A file that a task refers to without a descriptor: what a mapping
	 * maps, its executable, its current or root directory. */
	CRCORE_FILE = 2,
};

enum crcore_use { /* of a CRCORE_FILE: what the task uses it as */
	CRCORE_USE_NONE = 0,
	CRCORE_USE_MAPPING,
	CRCORE_USE_EXE,
	CRCORE_USE_CWD,
	CRCORE_USE_ROOT,
};

/* Owned by the host, valid from claim to the end of save. */
struct crcore_object {
	uint32_t size;
	uint32_t id;         /* unique in one image, > 0; records refer to it */
	uint32_t class_;     /* enum crcore_class */
	uint32_t use;        /* enum crcore_use */
	pid_t pid;           /* a task that holds it (as seen by the coordinator) */
	int32_t fd;          /* its number in that task; -1 for CRCORE_FILE */
	int32_t local_fd;    /* a duplicate in the coordinator (pidfd_getfd), O_PATH for
	                      * files; borrowed: do not close, seek, read or write through it
	                      * in a way that the task would see */
	uint32_t flags;      /* open(2) flags the object has (fdinfo), or that a mapping needs */
	int64_t pos;         /* file offset, bytes */
	uint32_t mnt_id;     /* /proc/PID/mountinfo id, 0 if unknown */
	uint32_t holders;    /* how many descriptors or uses there are in the tree */
	uint64_t start, end; /* first mapping's address range for CRCORE_USE_MAPPING */
	struct stat st;
	const char *link;    /* as readlink(/proc/PID/fd/N) or map_files gives it */
	const char *fdinfo;  /* text of /proc/PID/fdinfo/N; "" for CRCORE_FILE */
	uint32_t locked;     /* fdinfo of some holder, not only of pid, has "lock:" lines */
	/* In claim: a word by which plugins that agree on it tell those who are asked after
	 * them what they have found out about the object. 0 at first; NULL in other hooks. */
	uint64_t *note;
};

/* A task of the tree. Owned by the host. */
struct crcore_task {
	uint32_t size;
	pid_t pid;           /* thread group id */
	pid_t ppid, pgid, sid;
	int32_t pidfd;       /* borrowed; -1 at restore before the task exists */
	uint32_t index;      /* 0 is the root of the tree, parents before children */
	uint32_t state;      /* enum crcore_task_state */
	uint32_t nthreads;
	const pid_t *tids;   /* nthreads of them, tids[0] == pid */
	const char *comm;
	/* CLONE_NEW* of its namespaces that are not those in which crcore was started (dump:
	 * from the freeze on). Hooks but open and close run in its mount, IPC and network
	 * namespaces: paths, keys and addresses are the task's. At restore: of those it had. */
	uint32_t namespaces;
	/* Restore, from prepare on: the task of the tree from which it inherits what is inherited
	 * at birth: its pid; 0: from crcore. Not always its parent. */
	pid_t born_of;
	/* Dump, from ask on: how many of its threads are under seccomp. */
	uint32_t filtered;
	/* Dump: if it is not 0, the first threads of tasks with the same number are in the same groups
	 * of all sorts for which the machine's resources are shared out. Told when the tree is looked
	 * at, before observe and after freeze. */
	uint64_t groups;
};

enum crcore_task_state { CRCORE_TASK_RUNNING = 1, CRCORE_TASK_STOPPED, CRCORE_TASK_ZOMBIE };

/* How well a plugin can handle an object. The most exact claim wins; a tie is an error. */
enum crcore_claim {
	CRCORE_CLAIM_NONE = 0,    /* not mine */
	CRCORE_CLAIM_GENERIC = 1, /* any object of a broad sort, if nobody knows better */
	CRCORE_CLAIM_EXACT = 2,   /* exactly this sort of object */
	CRCORE_CLAIM_NAMED = 3,   /* this very object: the user has named it in an option */
};

/* ---- options ------------------------------------------------------------ */

enum crcore_type {
	CRCORE_BOOL = 1, /* value.b */
	CRCORE_INT,      /* value.i */
	CRCORE_SIZE,     /* value.i, bytes; "64MiB" in a policy */
	CRCORE_SECONDS,  /* value.i, nanoseconds; "10s", "250ms" in a policy */
	CRCORE_STRING,   /* value.s */
	CRCORE_CHOICE,   /* value.i: index into choices; value.s: the word */
	CRCORE_LIST,     /* value.list: strings */
	CRCORE_MAP,      /* value.list: pairs of key and value strings, flattened */
};

struct crcore_option {
	const char *name;           /* as in the policy, e.g. "ghost-limit" */
	uint32_t type;              /* enum crcore_type */
	const char *default_value;  /* in policy syntax; NULL: empty list or map, "" */
	const char *const *choices; /* CRCORE_CHOICE: NULL-terminated */
	int64_t min, max;           /* of numbers; both 0: any value >= 0 */
	const char *help;           /* one line */
};

struct crcore_value {
	bool b;
	int64_t i;
	const char *s;
	const char *const *list; /* NULL-terminated */
};

/* ---- image sections ------------------------------------------------------ */

enum crcore_sensitivity {
	CRCORE_PLAIN = 0,
	CRCORE_PATH,    /* a path of the file system */
	CRCORE_ADDRESS, /* a network or memory address */
	CRCORE_NAME,    /* a host, user, process or program name */
	CRCORE_PAYLOAD, /* contents: file data, pipe data, memory */
};

struct crcore_field {
	uint32_t number;      /* protobuf field number; nested: outer number * 1000 + inner */
	uint32_t sensitivity; /* enum crcore_sensitivity */
	const char *name;     /* for people, e.g. "path" */
};

/* Records are protobuf messages, length-delimited in <plugin>.<section>.img */
struct crcore_section {
	const char *name;
	uint32_t version;     /* version written; versions 1..version are read */
	const struct crcore_field *fields; /* ends with number 0; may be NULL */
};

/* ---- task programs ------------------------------------------------------- */

struct crcore_program; /* opaque: the program of one task (or thread) */

enum crcore_arg_kind {
	CRCORE_IMM = 0,    /* value */
	CRCORE_DATA = 1,   /* a reference that data() returned (+ byte offset) */
	CRCORE_RESULT = 2, /* the result of an earlier operation of this program */
};

struct crcore_arg {
	uint32_t kind;  /* enum crcore_arg_kind */
	uint32_t ref;   /* CRCORE_DATA: the reference; CRCORE_RESULT: the operation */
	uint64_t value; /* CRCORE_IMM: the value; CRCORE_DATA: byte offset */
};

enum crcore_expect {
	CRCORE_ANY = 0,     /* result is only recorded */
	CRCORE_OK = 1,      /* >= 0 */
	CRCORE_EQUAL = 2,   /* == want */
};

/* ---- services of the host ------------------------------------------------ */

struct crcore_ctx; /* opaque: the host's side of one loaded plugin */

/* What becomes of a tree when all of it is saved. */
enum crcore_leave { CRCORE_LEAVE_KILLED = 1, CRCORE_LEAVE_RUNNING, CRCORE_LEAVE_STOPPED };

struct crcore_host {
	uint32_t size;
	uint32_t abi_version;

	/* Logs a line; level 0 error, 1 warning, 2 info, 3 debug. */
	void (*log)(struct crcore_ctx *, int level, const char *fmt, ...)
		__attribute__((format(printf, 3, 4)));

	/* Value of one of the plugin's own options. Borrowed until close. NULL: no such option. */
	const struct crcore_value *(*option)(struct crcore_ctx *, const char *name);

	/* Dump, save stage: appends one record to a section. */
	int (*put_record)(struct crcore_ctx *, const char *section, const void *msg, size_t len,
	                  struct crcore_error *);
	/* Bulk data of a section: a plain file <plugin>.<section>.bin in the image.
	 * Dump: created, opened for writing, at its end. Restore: opened for
	 * reading. Borrowed: the host closes it. Returns a descriptor. */
	int (*blob)(struct crcore_ctx *, const char *section, struct crcore_error *);

	/* Registers what takes back a change that the plugin makes outside the
	 * tree. Call it before making the change; fn must cope with a change
	 * that was not made. Entries run in reverse order on failure, also if
	 * the command is killed. on_success: run it at the end of a command that
	 * succeeds too (e.g. a lock that is held only meanwhile): dump: when the tree
	 * has been let go or has ended; restore: when the tree is there to stay, and
	 * does not run yet. Should crcore be killed by SIGKILL just then, another process
	 * does it, with crcore's descriptors and a copy of its memory: fn must cope with
	 * a change that was taken back in part. */
	int (*undo)(struct crcore_ctx *, void (*fn)(void *arg), void *arg, bool on_success,
	            struct crcore_error *);

	/* The tree. tasks(ctx, i) is NULL past the last. */
	const struct crcore_task *(*task)(struct crcore_ctx *, uint32_t index);
	/* Objects (dump): those the plugin has claimed. NULL past the last. */
	const struct crcore_object *(*object)(struct crcore_ctx *, uint32_t index);

	/* Programs. data() copies len bytes (or zeroes them if bytes is NULL)
	 * to memory that the task will see, and returns a reference; call()
	 * appends a system call and returns the number of the operation. Both
	 * return UINT32_MAX when out of memory; the program is then refused
	 * when it is to run, so callers need not check. label is static text
	 * for --plan and for failures. */
	uint32_t (*data)(struct crcore_program *, const void *bytes, size_t len);
	uint32_t (*call)(struct crcore_program *, const char *label, uint32_t nr,
	                 const struct crcore_arg args[6], uint32_t expect, int64_t want);
	/* After the program has run (dump: from hold on): result and data. */
	int64_t (*result)(const struct crcore_program *, uint32_t op);
	const void *(*answer)(const struct crcore_program *, uint32_t ref);

	/* Restore, create and settle stages: a descriptor of an object, made first if
	 * it must be (declare it in plan() to get the order right). Borrowed. */
	int (*need)(struct crcore_ctx *, uint32_t object_id, struct crcore_error *);
	/* Restore, emit: appends operations after which *ret_op's result is a
	 * descriptor of the object in the task; the program must close it. */
	int (*fetch)(struct crcore_ctx *, struct crcore_program *, uint32_t object_id,
	             uint32_t *ret_op, struct crcore_error *);

	/* Programs: the 8 bytes at at_offset of the data at become the address, as
	 * the task sees it, of to_offset of the data to: for structs that point to
	 * others. A wrong reference makes the program be refused, as with call(). */
	void (*pointer)(struct crcore_program *, uint32_t at, uint64_t at_offset, uint32_t to,
	                uint64_t to_offset);
	/* The time limit of the hook begins anew. For hooks that move bulk data: call
	 * it whenever some more has been moved, and only then. */
	void (*alive)(struct crcore_ctx *);
	/* Restore: a descriptor (pidfd_open(2)) of a process that has ended with this
	 * wait status and was waited for: for what refers to one that is no more. */
	int (*ended)(struct crcore_ctx *, int status, struct crcore_error *);
	/* A last will: should crcore be killed so that nothing can take back what it did
	 * (SIGKILL of the process that runs the hooks), text is written to the file at
	 * path, at the very beginning of that death, before tasks that crcore holds are let
	 * go; text NULL: the empty directory there is removed, when they are. A process
	 * of its own carries out all wills, of each sort the last one first. They are void when
	 * the tree has been let go, or the command has ended, however: an undo entry is
	 * needed all the same. Make it before the change; keep it idempotent. */
	int (*will)(struct crcore_ctx *, const char *path, const char *text, struct crcore_error *);

	/* Dump: what becomes of the tree when all is saved (enum crcore_leave). 0: not a dump. */
	uint32_t (*leave)(struct crcore_ctx *);

	/* Contents of a file that can be mapped (memory, mostly), however large: the
	 * core saves them with the tree's memory, in parallel, without holes and pages
	 * that are zero. key: the plugin's own number for it, used once in an image.
	 * Dump, hold to save: fd (open for reading, stays the plugin's) is read when
	 * all save hooks are done. */
	int (*save_contents)(struct crcore_ctx *, uint64_t key, int fd, struct crcore_error *);
	/* Restore, prepare to settle: fills a file that has its size already, and holes or
	 * zeroes in it. Nothing was saved under the key: the same as zeroes. */
	int (*load_contents)(struct crcore_ctx *, uint64_t key, int fd, struct crcore_error *);
	/* Restore, prepare to settle: runs fn in a process of its own, a copy of this one
	 * that shares its descriptors, and waits for its end. For what the kernel notes
	 * the caller of: its pid (0: any; -EEXIST if it is in use), credentials, which fn
	 * may change there. fn returns 0 or a negative errno, which is the result; what it
	 * wrote is lost but for memory mapped shared; it must call no service. */
	int (*run_as)(struct crcore_ctx *, pid_t pid, int (*fn)(void *arg), void *arg,
	              struct crcore_error *);

	/* Dump, claim: a description that a plugin has found inside of an object, where no
	 * descriptor of the tree need lead to it (one that is sent through another, say).
	 * fd is a descriptor of it, and stays the caller's. Returns the id of the object
	 * that it is; if the tree has none yet, it becomes one, which is offered, saved
	 * and made like all others, its pid and fd being crcore's own. Returns 0 while the
	 * tree runs: then any descriptor (>= 0) tells that there is more to the tree than
	 * meets the eye, nothing need be looked for, and what plugins refuse is taken up again
	 * when it is frozen. fd -1 only asks which it is: > 0 if the tree is frozen. */
	int (*found)(struct crcore_ctx *, int fd, struct crcore_error *);

	/* The same as will(), for what is more than a text: fn is called with a copy of the
	 * bytes when the tasks that crcore held have been let go or have ended. It runs in
	 * that other process, without descriptors, with memory as it was some time ago: it
	 * uses its bytes and system calls, and nothing else. */
	int (*will_call)(struct crcore_ctx *, void (*fn)(const void *bytes, size_t len),
	                 const void *bytes, size_t len, struct crcore_error *);

	/* Restore, emit: as fetch(), for a descriptor of the plugin's own, which must stay open
	 * until release. -1 in a plan: operations are only printed. */
	int (*hand)(struct crcore_ctx *, struct crcore_program *, int fd, uint32_t *ret_op,
	            struct crcore_error *);

	/* The same as will_call(), but at the very beginning of that death, before tasks
	 * that crcore holds are let go. Memory that was mapped shared in open is seen by both
	 * processes. */
	int (*will_first)(struct crcore_ctx *, void (*fn)(const void *bytes, size_t len),
	                  const void *bytes, size_t len, struct crcore_error *);

	/* Programs: data as an argument, and a result in data, for calls that give or take a
	 * number in memory. load appends an operation whose result is the 8 bytes at at_offset
	 * (a multiple of 8) of the data at, as they are when it runs. store appends one by
	 * which size (4 or 8) bytes there become the result of an earlier operation. Both
	 * return the number of the operation, or UINT32_MAX, as call() does. */
	uint32_t (*load)(struct crcore_program *, const char *label, uint32_t at, uint64_t at_offset);
	uint32_t (*store)(struct crcore_program *, const char *label, uint32_t at, uint64_t at_offset,
	                  uint32_t size, uint32_t op);

	/* The same for many things, by as many threads as there are processors: calls fn(arg,
	 * from, to) for ranges of at most chunk that make up [0, n), in any order and at the same
	 * time, and returns when all are done. chunk (> 0): so many that some of them, say for a tenth
	 * of a millisecond, make another thread worth its while. fn keeps its result in what arg points
	 * to, touches nothing that another call may, calls no service, and waits for nothing that may
	 * not come: the time limit of the hook begins anew with each range, and ends none. The threads
	 * have the descriptors and credentials of this one, and take no signals. */
	void (*parallel)(struct crcore_ctx *, size_t n, size_t chunk,
	                 void (*fn)(void *arg, size_t from, size_t to), void *arg);

	/* Dump: the same as will_call(), for what is part of the image, as the name of a file that it
	 * needs: it is void when the image is complete, not when the tree is let go. */
	int (*will_image)(struct crcore_ctx *, void (*fn)(const void *bytes, size_t len),
	                  const void *bytes, size_t len, struct crcore_error *);
};

/* A mapping of an object, in one address space. */
struct crcore_mapping {
	uint32_t size;
	uint32_t prot;       /* PROT_* */
	uint64_t start, end;
	uint64_t offset;     /* into the object, bytes */
	pid_t pid;           /* the task that makes it, for all who share the address space */
};

/* ---- the plugin ------------------------------------------------------------ */

/* Where in a task's restore program emit() is called; ignore those you do not know. */
enum crcore_phase {
	CRCORE_PHASE_FILES = 1, /* descriptors are in place, root credentials still */
	CRCORE_PHASE_LATE = 2,  /* groups, sessions, threads are in place */
	CRCORE_PHASE_BIRTH = 4,  /* before all else: no memory is filled, nobody is cloned;
	                          * no descriptors yet, hand() works */
	CRCORE_PHASE_SESSION = 3, /* a leader of a session, before its first child in it: what
	                           * children inherit with the session; no descriptors yet,
	                           * fetch() works */
};

/* Order among plugins, per stage: "create", "save", ... ; stage NULL: every stage.
 * Names that are not loaded are ignored if they start with '?', else an error. */
struct crcore_order {
	const char *stage;
	const char *const *before; /* NULL-terminated, may be NULL */
	const char *const *after;
};

struct crcore_need {
	uint32_t capability;   /* CAP_* of linux/capability.h */
	const char *what_for;  /* NULL ends the list */
};

struct crcore_plugin {
	uint32_t size;         /* filled by CRCORE_PLUGIN_HEADER */
	uint32_t abi_version;
	const char *name;      /* [a-z0-9-]+, also the policy key and the image prefix */
	const char *version;
	const char *summary;   /* one line */

	const struct crcore_option *options;   /* ends with name NULL; may be NULL */
	const struct crcore_section *sections; /* ends with name NULL; may be NULL */
	const struct crcore_order *order;      /* ends with before and after NULL; may be NULL */
	const struct crcore_need *needs;       /* may be NULL */
	const char *claims;    /* for people: what it claims, e.g. "regular files (generic)" */

	/* Required. Load stage: validate options, test the kernel's behaviour,
	 * allocate the state. Must not change anything. The host and ctx stay
	 * valid until close. */
	int (*open)(const struct crcore_host *, struct crcore_ctx *, void **ret_state,
	            struct crcore_error *);
	/* Required. Frees the state. Called once after a successful open. */
	void (*close)(void *state);

	/* The rest is optional. Dump: */

	/* The tree still runs. Look, refuse, record. Must not change anything. */
	int (*observe)(void *state, struct crcore_error *);
	/* Returns enum crcore_claim, or a negative errno to say that the object
	 * is this plugin's but cannot be saved (err says why and what to do).
	 * Called before and after the freeze, also by `check`: must not change
	 * anything, must not keep obj. */
	int (*claim)(void *state, const struct crcore_object *obj, struct crcore_error *);
	/* The tree is frozen: from here to release every thread rests in a ptrace
	 * stop and the thread that calls the hooks is its tracer, so requests that
	 * only look (PTRACE_GETSIGINFO, ...) may be made. Add operations to the
	 * program of a task, keep their numbers; answers can be read from hold on. */
	int (*ask)(void *state, const struct crcore_task *, struct crcore_program *,
	           struct crcore_error *);
	/* Change the world outside the tree, with an undo. */
	int (*hold)(void *state, struct crcore_error *);
	/* Once per object that the plugin has claimed: write its record. */
	int (*save_object)(void *state, const struct crcore_object *obj, struct crcore_error *);
	/* Once, after all save_object: what belongs to no single object. */
	int (*save)(void *state, struct crcore_error *);

	/* Restore: */

	/* One record of one of the plugin's sections, in the order written.
	 * The bytes are untrusted and borrowed. version: that of the section. */
	int (*load_record)(void *state, const char *section, uint32_t version, const void *msg,
	                   size_t len, struct crcore_error *);
	/* All records are loaded: refuse here, before anything exists. */
	int (*check)(void *state, struct crcore_error *);
	/* Declares which objects must exist before this one: fills at most max
	 * ids, returns how many there are. */
	int (*plan)(void *state, uint32_t object_id, uint32_t *ret_needs, uint32_t max,
	            struct crcore_error *);
	/* Makes an object in the coordinator. Returns a descriptor that the
	 * host owns from then on, or a negative errno. */
	int (*create)(void *state, uint32_t object_id, struct crcore_error *);
	/* Adds operations to the program of a task. */
	int (*emit)(void *state, const struct crcore_task *, uint32_t phase,
	            struct crcore_program *, struct crcore_error *);
	/* All tasks are complete, stopped, with registers set. */
	int (*settle)(void *state, struct crcore_error *);

	/* Both: the last hook. Dump: everything is saved, tasks are about to be
	 * let go or killed. Restore: the interpreter has left every task. */
	int (*release)(void *state, struct crcore_error *);

	/* Dump, optional: once per object that the plugin has claimed, when all
	 * objects of the tree are claimed: object() lists this plugin's, task()
	 * the tree. For refusals that only the whole can tell, e.g. that the
	 * other end of something is outside. obj->local_fd is -1, or, of a frozen
	 * tree, a descriptor that stays there up to save; where a look through the
	 * description is needed and there is none, pidfd_getfd() it by the pidfd
	 * of the task obj->pid. Before and after the freeze, also by `check`: must
	 * not change anything. A refusal before the freeze counts only if it is the
	 * same, by its message, several times, and the tree has slept all the while;
	 * one by claim, if the object has looked the same. */
	int (*review)(void *state, const struct crcore_object *obj, struct crcore_error *);

	/* Restore, optional: once, when nothing was refused, before any object is
	 * created and any task exists. For what must be there, outside the tree,
	 * before all else, with an undo. Not called by `restore --plan`. */
	int (*prepare)(void *state, struct crcore_error *);

	/* What of a task, besides objects, the plugin keeps; the core refuses a tree
	 * with it if nobody does. Ends with NULL. Known: "seccomp". */
	const char *const *keeps;

	/* Restore, optional: for each thread of a live task (tids[thread]), perhaps
	 * more than once: adds what the thread must do last of all, e.g. what takes
	 * away its right to do anything else. The operations run when the whole tree is
	 * complete and every thread is traced by the coordinator, with no seccomp
	 * filter in force until the tree is let go; a leader's come before those of
	 * its other threads. The thread still has root's credentials. */
	int (*emit_thread)(void *state, const struct crcore_task *, uint32_t thread,
	                   struct crcore_program *, struct crcore_error *);

	/* Optional, for a plugin that knows a means of its own by which tasks do not
	 * run. In a dump:
	 *
	 * pause: the tree is about to be stopped. Returns 1 if some of it does not run
	 *   by such a means, be it since before crcore came or since this call; 0: not
	 *   so. The core then becomes the tracer of every thread, and asks all to stop,
	 *   before it waits for any.
	 * wake: how (enum crcore_wake) says what for. All paused tasks are held: they
	 *   must come to run, as far as needed for that.
	 * rest: all tasks are held again in their stops; those that did not run before
	 *   crcore came must not run from here on, even if crcore is killed.
	 *
	 * wake and rest come in pairs, several times, and rest before tasks are let go,
	 * also after a failure. Their undo and will is the state before the dump.
	 * In a restore: release may return 1 to say that tasks of the tree do not run
	 * now; wake(CRCORE_WAKE_END) comes if it fails even so. */
	int (*pause)(void *state, struct crcore_error *);
	int (*wake)(void *state, uint32_t how, struct crcore_error *);
	int (*rest)(void *state, struct crcore_error *);

	/* Dump, optional: when the answers to ask() are there, once per task, and again
	 * as long as a plugin adds operations to the program of any task, up to
	 * CRCORE_ROUNDS times. For questions that depend on answers. */
	int (*ask_again)(void *state, const struct crcore_task *, struct crcore_program *,
	                 struct crcore_error *);
	/* Restore, optional: the operations by which a task maps an object that mmap()
	 * of a descriptor cannot bring back. v: all n shared mappings of it in that address
	 * space, ascending; all else is mapped already, and what is there may be
	 * overwritten. scratch: a multiple of 1 GiB from which on scratch_len
	 * bytes are free; nothing may be left there. Must leave the protections
	 * of v. Returns 1, or 0: the core maps the descriptor of create(). */
	int (*map)(void *state, uint32_t object_id, const struct crcore_mapping *const *v, uint32_t n,
	           uint64_t scratch, uint64_t scratch_len, struct crcore_program *,
	           struct crcore_error *);
	/* Restore, optional: nothing can fail any more, and no task has run yet. For what
	 * cannot be taken back. What it returns only gets a warning. */
	int (*done)(void *state, struct crcore_error *);
};

enum crcore_wake {
	CRCORE_WAKE_STOP = 1, /* to come to their stops */
	CRCORE_WAKE_RUN = 2,  /* to run task programs */
	CRCORE_WAKE_END = 3,  /* to end: they have been killed */
};

#define CRCORE_ROUNDS 24

#define CRCORE_PLUGIN_HEADER .size = sizeof(struct crcore_plugin), .abi_version = CRCORE_ABI_VERSION

/*
 * A plugin that only has to do with objects of certain file types, or with links that begin
 * in one way, can say so in its file, once, beside the struct:
 *
 *   CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK), "");
 *   CRCORE_ONLY_FOR(0, "/dev/acme");
 *
 * Then dump and check load it when they meet the first object whose st.st_mode is of one of
 * these types, or whose link begins with that text ("": none does), which may be when the
 * tree is frozen already, or never. 0, "": no object is its business. Where the policy sets
 * something for it, it is loaded as ever. It may have none of the hooks observe, pause, wake
 * and rest, unless no object is its business. Its place in the order of open is its own. The
 * terminal of a task's session counts as an object, be there a descriptor of it or none.
 *
 *   CRCORE_NOT_FOR_DEVICES(1);
 *
 * besides: devices of these types with one of these major numbers (st.st_rdev, at most 8) are
 * not its business either. A crcore that does not know this loads it for them too.
 */
#define CRCORE_TYPE(ifmt) (1u << ((ifmt) >> 12))
#define CRCORE_NOTE_ONLY_FOR 1
#define CRCORE_NOTE_NOT_FOR_DEVICES 2
struct crcore_note {           /* as in elf(5), so that it is found without the loader */
	uint32_t name_size, size, type; /* of name, of what is behind it, CRCORE_NOTE_ONLY_FOR */
	char name[8];          /* "crcore" */
	uint32_t types;
	char link[28];         /* with its end */
};
#define CRCORE_ONLY_FOR(types, link) \
	__attribute__((used, aligned(4), section(".note.crcore"))) \
	static const struct crcore_note crcore_only_for_ = { \
		8, 32, CRCORE_NOTE_ONLY_FOR, "crcore", types, link }
struct crcore_device_note {
	uint32_t name_size, size, type; /* CRCORE_NOTE_NOT_FOR_DEVICES */
	char name[8];
	uint32_t majors[8];    /* 0: none */
};
#define CRCORE_NOT_FOR_DEVICES(...) \
	__attribute__((used, aligned(4), section(".note.crcore"))) \
	static const struct crcore_device_note crcore_not_for_devices_ = \
		{ 8, 32, CRCORE_NOTE_NOT_FOR_DEVICES, "crcore", { __VA_ARGS__ } }

/* Use at the definition: CRCORE_EXPORT const struct crcore_plugin crcore_plugin = { ... }; */
#ifdef __cplusplus
#define CRCORE_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define CRCORE_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
}
#endif
#endif
