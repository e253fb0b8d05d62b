/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "cgroup-freezer": in which control groups tasks are, how these are
 * set, and whether they are frozen, for version 1 and version 2 of cgroups(7).
 *
 *   cgroup-freezer.c  the plugin: options, sections, hooks
 *   mounts.c          hierarchies and where they are mounted; files of groups
 *   members.c         in which groups the tasks of the tree are
 *   pause.c           dump: a frozen tree, seen before anything is changed; own groups
 *   freeze.c          dump: freezing, waking, resting
 *   settings.[ch]     which files of a group are settings, and when they are written
 *   save.c load.c     records
 *   create.c place.c  restore: groups; their members and settings
 *   charge.c          restore: the groups to which memory is charged come first
 *
 * A reader could break: a group that was frozen before we came must be so again
 * whatever happens. So the will and the undo entry come before the first change,
 * and nothing else ever writes a freezer's state.
 */
#ifndef CRCORE_PLUGIN_CGROUP_FREEZER_H
#define CRCORE_PLUGIN_CGROUP_FREEZER_H

#include <crcore/plugin.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "cgroup-freezer.pb-c.h"
#include "plugins/record.h"

enum manage { MANAGE_SOFT, MANAGE_NONE, MANAGE_PROPS, MANAGE_FULL, MANAGE_STRICT, MANAGE_IGNORE };

struct hierarchy {
	char *key;          /* controllers as /proc/PID/cgroup has them; "" is version 2 */
	bool v2, freezer;
	char *mount;        /* NULL: not mounted here */
	int dir;            /* O_PATH of it; -1 */
	char *own;          /* the group of crcore itself */
};

/* All that a thread is in: the text of its /proc/PID/cgroup. */
struct set {
	char *text;
	bool own;           /* exactly where crcore is */
	uint32_t id;
	uint64_t groups;    /* what crcore calls it (struct crcore_task), 0: nothing */
};

struct member { pid_t pid, tid; struct set *set; };

/* A group that can be frozen: dump, those of the tree and all above them. */
struct frost {
	struct hierarchy *h;
	char *path;
	bool was;           /* frozen by its own state before we came */
	bool is;            /* as we wrote it last */
};

/* Restore: a group of the image. */
struct rgroup {
	struct cg *cg;
	CgroupFreezer__Group *rec;
	struct hierarchy *h;
	char *path;         /* where it goes */
	bool skipped;       /* above the place where the tree goes now */
	bool exists;        /* it was there before */
	bool made;
	bool frozen;        /* by us */
	bool entered;       /* crcore is in it */
	int procs;          /* to enter it; -1 */
};

struct cg {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum manage manage;
	const char *freeze; /* option: the group to stop the tree with; "": find one */
	char *own;          /* text of /proc/self/cgroup */
	int mountinfo, slash; /* of the mount namespace that crcore was started in */
	struct hierarchy *hier;
	unsigned nhier;
	struct set **sets;
	unsigned nsets;
	struct member *members;
	unsigned nmembers;
	pid_t root;         /* of the tree */
	struct frost *frosts;
	unsigned nfrosts;
	struct frost *tool; /* the group by which we stop the tree; NULL: none */
	bool pausing;       /* undo and wills are registered */
	/* restore */
	const char *const *roots; /* option: [HIERARCHY:]PATH */
	struct rgroup **groups;   /* by id - 1 */
	unsigned ngroups;
	CgroupFreezer__Member **places;
	unsigned nplaces;
	void **kept;              /* freed at the end: what undo entries use */
	unsigned nkept;
};

void *cg_keep(struct cg *, size_t size);
void *cg_keep_text(struct cg *, void *); /* what was allocated already; NULL: out of memory */

/* -- mounts.c -- */
/* Before crcore enters another mount namespace. */
int mounts_open(struct cg *, struct crcore_error *);
/* Reads /proc/self/cgroup and where each hierarchy is mounted; once. */
int mounts_find(struct cg *, struct crcore_error *);
void mounts_free(struct cg *);
struct hierarchy *hierarchy_find(struct cg *, const char *key, size_t len);
/* Files of a group: path begins with a slash; file NULL: the group itself. */
int group_open(const struct hierarchy *, const char *path, const char *file, int flags);
int group_read(const struct hierarchy *, const char *path, const char *file, char *buf, size_t len);
int group_write(const struct hierarchy *, const char *path, const char *file, const char *text);
bool group_exists(const struct hierarchy *, const char *path);
/* Is path the group at or one below it? */
bool path_below(const char *path, const char *at);
/* Calls fn for the groups below path, parents first; ends at the first that is not 0. */
int groups_below(const struct hierarchy *, const char *path,
                 int (*fn)(void *arg, const char *path), void *arg);
/* Calls fn for each process in the group itself. */
int group_processes(const struct hierarchy *, const char *path, int (*fn)(void *arg, pid_t),
                    void *arg);

/* -- members.c -- */
int members_read(struct cg *, struct crcore_error *);
bool members_elsewhere(const struct cg *); /* some are not where crcore is */
void members_free(struct cg *);
/* Where a set is in a hierarchy: the path, len bytes; NULL: nowhere. */
const char *set_path(const struct set *, const struct hierarchy *, size_t *ret_len);

/* -- pause.c -- */
int pause_observe(struct cg *, struct crcore_error *);
void frosts_free(struct cg *);
int frost_state(const struct hierarchy *, const char *path); /* 0, 1; by itself, not by a parent */
/* A process of the group or of one below it that does not belong to the tree; 0: none. */
pid_t find_stranger(struct cg *, const struct hierarchy *, const char *path);

/* -- freeze.c -- */
int freeze_pause(struct cg *, struct crcore_error *);
int freeze_wake(struct cg *, struct crcore_error *);
int freeze_rest(struct cg *, struct crcore_error *);
int frost_write(const struct hierarchy *, const char *path, bool frozen);
/* The state that it is to have should crcore be killed. */
int frost_will(struct cg *, const struct hierarchy *, const char *path, bool frozen,
               struct crcore_error *);
/* The file and the text by which a group's state is set. */
const char *frost_file(const struct hierarchy *);
const char *frost_text(const struct hierarchy *, bool frozen);

bool await_frozen(const struct hierarchy *, const char *path);

/* -- save.c -- */
int groups_save(struct cg *, struct crcore_error *);
/* -- load.c -- */
int groups_load(struct cg *, const char *section, const void *msg, size_t len,
                struct crcore_error *);
int groups_check(struct cg *, struct crcore_error *);
void groups_free(struct cg *);
/* -- create.c: makes them, and sets what must be set before anybody is in them -- */
int groups_create(struct cg *, struct crcore_error *);
int group_fail(const struct rgroup *, int code, const char *what, struct crcore_error *);
/* early, or all the others; also owners and modes, at the end */
int group_set(struct rgroup *, bool early, struct crcore_error *);
/* -- place.c: who is where; freezing at the end, and thawing after a failure -- */
/* What the image says of a thread; NULL: it stays where it is. */
const CgroupFreezer__Member *find_member(const struct cg *, pid_t pid, pid_t tid);
/* -- charge.c -- */
int charge_emit(struct cg *, const struct crcore_task *, struct crcore_program *,
                struct crcore_error *);
/* crcore goes into the groups of the tree's root, and back */
int charge_enter(struct cg *, struct crcore_error *);
void charge_leave(struct cg *);
int groups_settle(struct cg *, struct crcore_error *);
int groups_release(struct cg *, struct crcore_error *);
int groups_wake(struct cg *, struct crcore_error *);
#endif
