/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: flags become an overlay of the policy (options) or fields
 * of struct command (operands of this one run). One function a command.
 */
#ifndef CRCORE_CLI_H
#define CRCORE_CLI_H

#include <crcore/plugin.h>
#include "core/policy/policy.h"

struct command {
	const char *verb;         /* "dump", "restore", "check", ... */
	/* Effective: the file, then flags. The file is that of --policy or default.yaml;
	 * for restore it is the policy in the image, then that of --policy. */
	struct policy *policy;
	pid_t pid;                /* -t/--tree; 0: none */
	const char *images_dir;   /* -D/--images-dir; default "." */
	const char *log_file;     /* -o/--log-file, NULL: stderr */
	int verbosity;            /* -v[N], as log_level */
	const char *trace;        /* --trace, NULL: none */
	const char *pidfile;      /* --pidfile, NULL: none */
	bool json, plan;          /* --json; restore --plan */
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
int command_exec(struct command *, struct crcore_error *);    /* core/cli/exec.c */
int command_plugins(struct command *, struct crcore_error *);
int command_policy(struct command *, struct crcore_error *);

/* report.c, which is in a library of its own (report_lib): */
/* The one place that prints an error: a line "Error: ..." on stderr, or JSON on stdout. */
void report_error(const struct crcore_error *, bool json);
/* The line without "Error: ", as it goes to the log. Control characters are escaped. */
void error_text(const struct crcore_error *, char *ret, size_t len);
#endif
