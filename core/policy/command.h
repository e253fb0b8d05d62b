/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of crcore, as its command line says: the policy in force, and what is of
 * this run alone. The command line fills it; each command is a function of it.
 */
#ifndef CRCORE_COMMAND_H
#define CRCORE_COMMAND_H

#include "core/policy/policy.h"

struct image_place;

struct command {
	const char *verb;         /* "dump", "restore", "check", ... */
	/* Effective: the file, then flags. The file is that of --policy or default.yaml;
	 * for restore it is the policy in the image, then that of --policy. */
	struct policy *policy;
	pid_t pid;                /* -t/--tree; 0: none */
	const char *images_dir;   /* -D/--images-dir; default "." */
	const char *prev_images_dir; /* --prev-images-dir, as seen from images_dir; NULL: none */
	const char *log_file;     /* -o/--log-file, NULL: stderr */
	int verbosity;            /* -v[N], as log_level */
	const char *trace;        /* --trace, NULL: none */
	const char *pidfile;      /* --pidfile, NULL: none */
	bool json, plan;          /* --json; restore --plan */
	bool stream;              /* --stream: standard output or input instead of images_dir */
	bool keep_images;         /* restore --stream: what came stays in images_dir */
	struct image_place *received; /* ... or is removed once it is restored */
	char **args;              /* what follows the flags (exec: the system call) */
	int nargs;
};

/* Each returns 0 or a negative errno with err filled; restore in the foreground
 * returns the exit status of the root task (>= 0) instead, check --json 1 where
 * something keeps a tree from being saved. Only main() prints err.
 * With --json, dump and restore print nothing on stdout: main() prints that they
 * are done. The others print their result. */
int command_dump(struct command *, struct crcore_error *);    /* core/dump/ */
int command_check(struct command *, struct crcore_error *);   /* core/dump/ */
int command_restore(struct command *, struct crcore_error *); /* core/restore/ */
int command_show(struct command *, struct crcore_error *);    /* core/cli/show.c */
int command_merge(struct command *, struct crcore_error *);   /* core/dump/merge.c */
int command_exec(struct command *, struct crcore_error *);    /* core/cli/exec.c */
int command_plugins(struct command *, struct crcore_error *);
int command_policy(struct command *, struct crcore_error *);
#endif
