/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "tmpfiles": files that no task holds open but the program will
 * want again. The dump puts those that the option `include` names into an
 * archive, the restore makes them again before any task exists.
 *
 *   tmpfiles.c  the plugin: options, sections, the hooks of the dump
 *   place.c     paths: are they sound, open them without following a symlink
 *   match.c     dump: patterns to paths
 *   held.c      dump: what tasks hold open, which is the business of others
 *   save.c      dump: a file or a folder into the archive; extents.c: contents
 *   load.c      restore: the archive's headers, checked; exists.c: what is there
 *   create.c    restore: the files, and taking them back
 *   dress.c     restore: owner, mode, extended attributes, times
 *
 * A reader could break: every path is walked from the root by openat2 with
 * RESOLVE_NO_SYMLINKS. Others may write to the directories while we are there,
 * so nothing is ever reached by a path that was looked at before.
 */
#ifndef CRCORE_PLUGIN_TMPFILES_H
#define CRCORE_PLUGIN_TMPFILES_H

#include "lib.h"
#include <crcore/plugin.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "tmpfiles.pb-c.h"
#include "plugins/util.h"

enum exists { EXISTS_REFUSE, EXISTS_KEEP, EXISTS_REPLACE }; /* option exists */

struct tmpfiles;
struct member {              /* restore: one file of the archive */
	struct tmpfiles *t;
	char *path;          /* where it goes, remapped */
	char *target;        /* of a symlink, or the path of an earlier entry */
	struct member *same;  /* hard link: the entry that has the contents */
	struct stat st;      /* as it was; nlink means nothing */
	bool there;          /* nothing to make */
	bool replace;        /* what is there goes aside */
	bool made;
	dev_t dev;           /* made, or there: which file it is */
	ino_t ino;
	char aside[64];      /* name of what was there, while it is aside; else "" */
	struct archive_entry *dir; /* a directory that was made: dressed at the end */
};

struct tmpfiles {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	const char *const *include, *const *remap;
	enum exists exists;
	uint64_t limit;
	int root;            /* O_PATH of / */
	/* restore */
	Tmpfiles__Archive *rec;
	struct member **entries;
	unsigned nentries;
	void *by_path;       /* tsearch() tree of entries */
};

struct taking {              /* dump: one walk */
	struct tmpfiles *t;
	struct archive *a;   /* NULL: only looks */
	int blob;
	struct stat image;   /* its folder is never taken; ino 0: none yet */
	void *held, *taken, *links;
	uint64_t bytes;
	uint32_t entries;
	struct crcore_error *err;
};

struct inode { dev_t dev; ino_t ino; char path[]; };
int inode_compare(const void *, const void *);

/* -- place.c -- */
bool place_valid(const char *path); /* absolute, normalised, not / */
/* Opens rel below at, no symlink on the way (O_PATH|O_NOFOLLOW gives a last one itself). */
int place_open(int at, const char *rel, int flags, uint64_t resolve);
/* O_PATH of the directory that path is in; *ret_name is its last component. */
int place_parent(const struct tmpfiles *, const char *path, const char **ret_name);
/* The names in an open directory, sorted, without . and ..; ends with NULL. */
int place_list(int dir, char ***ret);
void names_free(char **names);
void place_link(int fd, char ret[40]); /* a path by which fd is reached: /proc/self/fd/N */
int place_fail(const char *path, int code, const char *what, struct crcore_error *);

/* -- match.c: calls take_path() for all that a pattern matches -- */
int match_all(struct taking *);
/* -- held.c: fills k->held -- */
int held_find(struct taking *);
/* -- save.c -- */
int take_path(struct taking *, const char *path);
/* -- extents.c -- */
struct extents { struct extent { uint64_t offset, length; } *v; unsigned n; uint64_t bytes; };
int extents_find(int fd, uint64_t size, struct extents *);
int extents_write(struct archive *, int fd, uint64_t size, const struct extents *);
/* -- load.c -- */
int archive_start(struct tmpfiles *, struct archive **ret, struct crcore_error *);
int archive_failed(struct archive *, struct crcore_error *);
struct member *entry_find(const struct tmpfiles *, const char *path);
int tmpfiles_check(void *state, struct crcore_error *);
void entries_free(struct tmpfiles *);
/* -- exists.c -- */
int exists_check(struct tmpfiles *, struct member *, struct crcore_error *);
/* -- create.c -- */
int tmpfiles_prepare(void *state, struct crcore_error *);
/* -- dress.c -- */
int dress(int fd, struct archive_entry *, mode_t type, struct crcore_error *);

static inline void cleanup_archive_read_(struct archive **a) { if (*a) archive_read_free(*a); }
static inline void cleanup_entry_(struct archive_entry **e) { if (*e) archive_entry_free(*e); }
#endif
