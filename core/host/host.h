/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin host: loads shared objects, checks them, orders them, offers them
 * objects, runs their hooks one stage at a time under a time limit, and keeps
 * their undo entries. It knows stages, not what happens in them.
 */
#ifndef CRCORE_HOST_H
#define CRCORE_HOST_H

#include <crcore/plugin.h>
#include "core/policy/policy.h"

struct crcore_ctx {             /* one loaded plugin */
	struct host *host;
	struct crcore_plugin p; /* the loader's zero-padded copy */
	const char *path;
	void *dl, *state;
	struct crcore_value *values; /* parallel to p.options */
	int64_t time_limit;          /* nanoseconds per hook call */
	bool dead;                   /* a hook hung: never call it again */
	unsigned index;              /* in host->plugins */
	unsigned place;              /* in the policy */
	/* objects claimed (dump), by class of service below */
	const struct crcore_object **objects;
	unsigned nobjects;
	const char *key;             /* as the policy names it: a name or a path */
	bool opened;                 /* open() succeeded, close() is due */
	bool used;                   /* dump: it owns something of the tree, or has written of it */
};

struct later {                  /* a plugin that is loaded when something concerns it */
	const char *key;        /* its name */
	unsigned place;         /* in the policy */
	uint32_t types;         /* of objects that concern it: CRCORE_TYPE() */
	char link[32];          /* what theirs begin with */
	uint32_t not_majors[8]; /* devices of these types that do not concern it */
};

/* What the stages lend to the plugins: set by dump or restore, NULL otherwise.
 * The host's service table forwards to these. */
struct host_services {
	int (*put_record)(void *arg, struct crcore_ctx *, const char *section, const void *, size_t,
	                  struct crcore_error *);
	int (*blob)(void *arg, struct crcore_ctx *, const char *section, struct crcore_error *);
	const struct crcore_task *(*task)(void *arg, uint32_t index);
	int (*found)(void *arg, struct crcore_ctx *, int fd, struct crcore_error *);
	int (*need)(void *arg, struct crcore_ctx *, uint32_t id, struct crcore_error *);
	int (*fetch)(void *arg, struct crcore_ctx *, struct crcore_program *, uint32_t id,
	             uint32_t *ret_op, struct crcore_error *);
	int (*hand)(void *arg, struct crcore_ctx *, struct crcore_program *, int fd, uint32_t *ret_op,
	            struct crcore_error *);
	uint32_t leave; /* enum crcore_leave */
	int (*save_contents)(void *arg, struct crcore_ctx *, uint64_t key, int fd,
	                     struct crcore_error *);
	int (*load_contents)(void *arg, struct crcore_ctx *, uint64_t key, int fd,
	                     struct crcore_error *);
	int (*run_as)(void *arg, struct crcore_ctx *, pid_t pid, int (*fn)(void *), void *fn_arg,
	              struct crcore_error *);
	void *arg;
};

enum stage { STAGE_OPEN, STAGE_OBSERVE, STAGE_CLAIM, STAGE_PAUSE, STAGE_WAKE, STAGE_REST,
	     STAGE_ASK, STAGE_HOLD, STAGE_SAVE, STAGE_LOAD, STAGE_CHECK, STAGE_PREPARE,
	     STAGE_PLAN, STAGE_CREATE, STAGE_EMIT, STAGE_SETTLE, STAGE_RELEASE, STAGE_DONE,
	     STAGE_CLOSE, NSTAGES };
const char *stage_name(enum stage);
bool stage_has_hook(const struct crcore_plugin *, enum stage);

/* What is decided once, and known to all who may have to end what one of them began. */
struct fate {
	pid_t guard;                 /* who carries out wills; 0: nobody */
	pid_t kept;                  /* not 0: wills are void: the root of a tree that lives on */
};

struct host {
	struct crcore_ctx **plugins; /* in policy order */
	unsigned nplugins;
	const char *const *spare;    /* borrowed, while they are loaded: see host_load_but() */
	bool patient;                /* see host_load_lazily() */
	struct later *later;         /* those that are not loaded yet, in policy order */
	unsigned nlater;
	struct policy *policy;       /* borrowed */
	struct host_services services;
	struct undo *undo;           /* stack of entries */
	struct crcore_ctx **order[NSTAGES]; /* nplugins each */
	bool hung;                   /* some hook was left by force: no plugin is unloaded */
	bool keep_loaded;            /* once open: the process ends soon, unloading is not worth it */
	struct limit *limit;         /* the timer of hook calls, made when first used */
	struct wills *wills;         /* will.c */
	struct fate *fate;           /* shared with main and the guard; NULL: nobody asks */
	struct heir *heir;           /* heir.c */
	uint32_t *undone;            /* shared with the heir: the last entry that was run */
};

/* Loads what the policy names (RTLD_NOW|RTLD_LOCAL), checks size, version,
 * required hooks, names, sections, options, order; opens each. Search path for
 * plain names: $CRCORE_PLUGIN_PATH, the build tree if crcore runs from it, LIBDIR/crcore/plugins.
 * Hooks run in the thread and process that calls; a fork of it may go on using the host. */
int host_load(struct policy *, struct host **ret, struct crcore_error *);
/* The same without those that have nothing to do (names, NULL at the end), unless the policy
 * sets something for them. */
int host_load_but(struct policy *, const char *const *spare, struct host **ret,
                  struct crcore_error *);
/* The same, but those that say which objects they are for (CRCORE_ONLY_FOR) and for which
 * nothing is set wait until host_claim() is given such an object. */
int host_load_lazily(struct policy *, struct host **ret, struct crcore_error *);
/* Loads those of them that wait for such an object: a task has it, but it may have no
 * descriptor, so that it will not be claimed. */
int host_load_for(struct host *, mode_t, dev_t, struct crcore_error *);
/* Loads those that still wait: before their files can no more be found by their names. */
int host_load_rest(struct host *, struct crcore_error *);
/* The same without open (for `crcore plugins`: nothing of a plugin runs but its constructors). */
int host_look(struct policy *, struct host **ret, struct crcore_error *);
void host_free(struct host *); /* runs close; NULL is fine */
struct crcore_ctx *host_find(struct host *, const char *name);
/* Does some plugin say that it keeps this of tasks? (struct crcore_plugin, keeps) */
bool host_keeps(const struct host *, const char *what);

/* Plugins in the order of a stage, computed from before/after and the policy.
 * Owned by the host. Computed and checked for every stage at load. */
struct crcore_ctx *const *host_order(struct host *, enum stage, unsigned *ret_n);

/* Hook calls between these share one alarm: for loops over many objects. They nest. */
int host_series_start(struct host *, struct crcore_error *);
void host_series_stop(struct host *);
/* Runs fn(ctx, arg, err) as a hook of ctx under its time limit; err gets the
 * plugin's name. A hook that hangs is left by siglongjmp, ctx is dead from
 * then on, -ETIMEDOUT. fn must own nothing that would leak then. */
int host_call(struct crcore_ctx *, enum stage, int (*fn)(struct crcore_ctx *, void *arg,
              struct crcore_error *), void *arg, struct crcore_error *);

/* The plain stages: calls hook(state, err) of each plugin that has it, in order.
 * stage is one of OBSERVE, PAUSE, REST, HOLD, SAVE, CHECK, PREPARE, SETTLE, RELEASE, DONE.
 * Returns the largest result (0 or 1) or the first failure; all are called in RELEASE,
 * DONE and REST. */
int host_run(struct host *, enum stage, struct crcore_error *);
int host_wake(struct host *, uint32_t how, struct crcore_error *);
int host_ask(struct host *, const struct crcore_task *, struct crcore_program *,
             struct crcore_error *);
int host_ask_again(struct host *, const struct crcore_task *, struct crcore_program *,
                   struct crcore_error *);
int host_emit(struct host *, const struct crcore_task *, uint32_t phase, struct crcore_program *,
              struct crcore_error *);
int host_emit_thread(struct host *, const struct crcore_task *, uint32_t thread,
                     struct crcore_program *, struct crcore_error *);

/* Offers obj to all; *ret_ctx gets the winner. -ENOTSUP if nobody claims it,
 * -EEXIST on a tie: err names the object and the plugins. A claim that
 * returned an errno is the error, unless somebody else claims it. */
int host_claim(struct host *, const struct crcore_object *, struct crcore_ctx **ret_ctx,
               struct crcore_error *);
/* Records the winner's object, for the object() service and save_object. */
int host_own(struct crcore_ctx *, const struct crcore_object *, struct crcore_error *);
/* Forgets all owned objects: before another look at the tree. */
void host_forget(struct host *);

/* Runs undo entries in reverse: all (failure) or only the on_success ones. Then
 * drops all. Also those of a plugin that hung: they are not hooks, and what was
 * changed must be taken back; each under the plugin's time limit. */
void host_undo(struct host *, bool success);
/* Are there entries that a success runs too? */
bool host_undo_waits(const struct host *);
/* Undo entries of the core itself use the same stack. */
int host_undo_push(struct host *, struct crcore_ctx *, void (*fn)(void *), void *arg,
                   bool on_success, struct crcore_error *);

/* Last wills (plugin.h): carried out by a process of their own if the calling one is
 * killed, until they are void; dropped: that process has ended. */
enum will_time {
	WILL_FIRST, /* while tracees are held still */
	WILL_LAST,  /* when they are not */
	WILL_IMAGE, /* then, too, until the image is complete, whatever becomes of the tree */
};
int host_will(struct host *, enum will_time, void (*fn)(const void *bytes, size_t len),
              const void *bytes, size_t len, struct crcore_error *);
int host_will_text(struct host *, const char *path, const char *text, struct crcore_error *);
void host_wills_void(struct host *, pid_t kept);
void host_wills_tree_runs(struct host *); /* a dump has let it go: void but for WILL_IMAGE */
void host_wills_sealed(struct host *);    /* WILL_IMAGE is void */
void host_wills_drop(struct host *);

/* From here to host_heir_end(): should this process be killed, another one, which has a copy
 * of its memory as it is now and its descriptors, does this (guard.h: nothing that this one
 * holds moves in first(), or as a rule not yet). There host_undo() runs what has not been
 * run here. Either may be NULL. */
int host_heir(struct host *, void (*first)(void *arg), void (*last)(void *arg), void *arg,
              struct crcore_error *);
void host_heir_end(struct host *);

void host_print(struct host *, FILE *, bool json); /* `crcore plugins` */
#endif
