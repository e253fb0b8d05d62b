/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "files": whatever has, or had, a path. Regular files, directories,
 * the plain devices, what a mapping maps, executables, current directories.
 *
 *   files.c    the plugin: options, sections, claim
 *   locate.c   dump: by which path an object can be found again, if by any
 *   locks.c    locks of descriptions; posix.c: locks of tasks
 *   save.c     dump: records, contents of ghosts, hidden names
 *   compare.c  restore: is a file still what it was at the dump
 *   create.c   restore: records to descriptors
 *   embed.c    restore: files that changed and come from the image, or are cut
 *   external.c what stays outside; descriptors of crcore in place of files
 *   outside.c  dump: locks held together with somebody outside
 *   ghost.c    restore: files and directories without a name
 *
 * A ghost is a file that nobody can open by a name: deleted but still held, or
 * a memfd. It is stored by contents, once, whatever number of objects refer to it.
 */
#ifndef CRCORE_PLUGIN_FILES_H
#define CRCORE_PLUGIN_FILES_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/vfs.h>
#include "files.pb-c.h"
#include "plugins/record.h"

/* In f_flags of what O_TMPFILE opened; O_TMPFILE itself contains O_DIRECTORY. */
#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)

enum changed { /* option changed-file */
	CHANGED_REFUSE, CHANGED_ACCEPT, CHANGED_GREW, CHANGED_TRUNCATE, CHANGED_EMBED,
};
struct outside_fd { pid_t pid; int fd; dev_t dev; ino_t ino; };

struct lock_line { /* of /proc/locks */
	char sort[8];  /* FLOCK, OFDLCK, POSIX, LEASE, DELEG */
	bool write;
	bool breaking;  /* a lease that somebody waits for: write, read are what it is to become */
	bool read;
	int pid;
	uint64_t dev;  /* of the file system: not what stat(2) shows on btrfs */
	uint64_t ino, start, length;
};
struct ghost_saved { dev_t dev; ino_t ino; uint32_t id; };
struct remap { dev_t dev; ino_t ino; char path[PATH_MAX]; bool made; };
struct ghost { /* restore: a record and, once it is made, the file */
	Files__Ghost *rec;
	bool tmpfile;        /* one of its objects was opened with O_TMPFILE: */
	uint32_t tmpfile_flags; /* ... with these flags */
	unsigned users;      /* objects that are still to be made of it */
	int fd;              /* O_PATH, -1: not made yet, or not needed any more */
	int tmpfile_fd;      /* for the object that O_TMPFILE opened, -1: none */
	char *name;          /* if named */
	bool named;
	bool wanted, placed;  /* embedded: it takes the place of a file that changed; it has */
	char *aside;         /* ... where that one is; NULL: nowhere */
};

struct files {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	uint64_t ghost_limit;
	bool link_remap;
	bool keep_locks;
	enum changed changed;
	const char *const *changed_paths; /* option changed: pairs of pattern and what to do */
	const char *const *inherit; /* option inherit-fd: "fd[N]:PATH" */
	const char *const *external;

	/* dump */
	int mountinfo;       /* -1: not open yet */
	unsigned *mounts;    /* sorted ids of the mounts that crcore sees */
	unsigned nmounts;
	struct { dev_t dev; uint64_t magic; } fs[16]; /* what statfs said, by device */
	unsigned nfs;
	void *saved;         /* tsearch() tree of struct ghost_saved */
	unsigned nsaved;
	struct remap **remaps;
	unsigned nremaps;
	uint64_t blob_end;   /* of the contents written so far */
	bool locked;         /* some descriptor shows a lock */
	struct outside_fd *outside; /* regular files of processes outside the tree */
	unsigned noutside;
	bool looked_outside;

	/* restore */
	Files__File **recs;  /* by id, once check() has sorted them */
	unsigned nrecs;
	Files__File **acting; /* those for which tasks have something to do */
	unsigned nacting;
	struct ghost **ghosts; /* by id as well */
	unsigned nghosts;
	Files__TaskLock **posix;
	unsigned nposix;
};

/* locate.c */
enum found {
	FOUND_PATH = 1, /* open path */
	FOUND_GHOST,    /* no name; path: the one it had, base: where to make it */
	FOUND_REMAP,    /* other names exist, but not where it was; path: the one it had */
	FOUND_OWN,      /* below /proc of a task of the tree */
	FOUND_DEAD,     /* below /proc of a process that has ended */
};
struct location {
	enum found how;
	bool memfd, pseudo;
	uint32_t huge_shift;  /* of a memfd of huge pages */
	struct stat st;       /* fresh */
	char path[PATH_MAX];
	char base[PATH_MAX];
};
int files_locate(struct files *, const struct crcore_object *, struct location *ret,
                 struct crcore_error *);
/* Bytes that a ghost would take in the image. */
uint64_t files_ghost_bytes(const struct stat *);
bool files_in_tree(const struct files *, pid_t); /* a task or thread of it */
void files_forget(struct files *); /* frees what locate remembers */

/* locks.c */
/* Parses a line of /proc/locks, or of fdinfo after "lock:\t". */
bool files_parse_lock(const char *text, struct lock_line *ret);
bool files_overlap(const struct lock_line *, uint64_t start, uint64_t length);
int files_lock_taken(const struct lock_line *, const char *path, struct crcore_error *); /* fails */
/* Is the file at path on the file system that a lock's dev says? */
bool files_is_on(const char *path, uint64_t dev);
/* Locks of the description, from its fdinfo; those that cannot be kept are refused.
 * fn is called for each; may be NULL. */
int files_locks(const struct files *, const struct crcore_object *,
                int (*fn)(void *arg, const Files__Lock *), void *arg, struct crcore_error *);
/* Refuses locks that somebody else holds now. */
int files_check_locks(const struct files *, struct crcore_error *);
/* Takes open file description locks; flock(2) is taken by a task, whose pid it then shows. */
int files_take_locks(int fd, const Files__File *, struct crcore_error *);
void files_emit_locks(const struct files *, const Files__File *, struct crcore_program *);

/* posix.c */
int files_save(void *state, struct crcore_error *);
int posix_load(struct files *, const void *msg, size_t len, struct crcore_error *);
int posix_check(const struct files *, const struct lock_line *, struct crcore_error *);
void posix_emit(const struct files *, pid_t pid, struct crcore_program *);

/* save.c */
bool files_embeds(const struct files *, const struct crcore_object *, const struct location *);
int files_save_object(void *state, const struct crcore_object *, struct crcore_error *);

/* compare.c */
int files_compare(const struct files *, const Files__File *, const struct stat *,
                  struct crcore_error *);

enum changed files_changed(const struct files *, const char *path); /* what to do if it changed */

/* external.c */
/* Its name, or NULL. */
const char *files_external(const struct files *, const struct crcore_object *);
int files_save_external(struct files *, const struct crcore_object *, const char *name,
                        struct crcore_error *);
/* The descriptor of crcore that the user wants in place of the file, -1: none. */
int files_inherited(const struct files *, const Files__File *);
int files_check_inherited(const struct files *, struct crcore_error *);
int files_check_external(const Files__File *, struct crcore_error *); /* fails */

/* embed.c */
int embed_place(struct files *, struct ghost *, struct crcore_error *);
void files_truncate(const struct files *, const Files__File *); /* if it grew and is to be cut */

/* dead.c */
int dead_create(const Files__File *, struct crcore_error *);

/* own.c */
int own_save(struct files *, const struct crcore_object *, Files__File *, struct crcore_error *);
void own_clear(Files__File *);
int own_check(const Files__File *, struct crcore_error *);
int own_create(struct crcore_error *);
void own_emit(const struct files *, const Files__File *, pid_t pid, uint32_t phase,
              struct crcore_program *);

/* xattr.c */
int xattrs_read(int fd, Files__Ghost *, struct crcore_error *);
void xattrs_clear(Files__Ghost *);
int xattrs_write(int fd, const Files__Ghost *, struct crcore_error *);

/* outside.c */
int files_review(void *state, const struct crcore_object *, struct crcore_error *);

/* create.c */
int files_load_record(void *state, const char *section, uint32_t version, const void *msg,
                      size_t len, struct crcore_error *);
int files_check(void *state, struct crcore_error *);
int files_create(void *state, uint32_t id, struct crcore_error *);
int files_emit(void *state, const struct crcore_task *, uint32_t phase, struct crcore_program *,
               struct crcore_error *);
int files_done(void *state, struct crcore_error *);

/* ghost.c */
int ghost_fill(struct files *, int out, const Files__Ghost *, struct crcore_error *);
int ghost_dress(int fd, const Files__Ghost *, struct crcore_error *);
int ghosts_check(struct files *, struct crcore_error *);
/* A descriptor of the ghost, opened with these flags; the first call makes the file. */
int ghost_open(struct files *, struct ghost *, uint32_t flags, struct crcore_error *);
int files_settle(void *state, struct crcore_error *);
struct ghost *ghost_find(const struct files *, uint32_t id);
void ghost_free(struct ghost *);

/* util.c */
int files_reopen(int fd, int flags);  /* another description of the same file, or -errno */
void files_parent(char *path);       /* cuts the last component off, "/" stays */
unsigned files_mount_id(int dirfd, const char *path, int flags); /* 0: unknown */
#endif
