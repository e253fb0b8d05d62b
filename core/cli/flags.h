/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of commands and flags. They drive parsing, --help and the manual
 * page, so none of these can know a flag that another does not.
 */
#ifndef CRCORE_FLAGS_H
#define CRCORE_FLAGS_H

#include "core/cli/cli.h"

enum { /* which commands: bits */
	V_DUMP = 1, V_RESTORE = 2, V_CHECK = 4, V_SHOW = 8, V_EXEC = 16, V_PLUGINS = 32,
	V_POLICY = 64, V_MERGE = 128,
	V_ALL = 255,
	V_WITH_POLICY = V_DUMP | V_RESTORE | V_CHECK | V_PLUGINS | V_POLICY,
};

enum base { /* what a command's policy begins with */
	BASE_NONE,    /* nothing: the command uses no plugins */
	BASE_DEFAULT, /* --policy, else default.yaml */
	BASE_IMAGE,   /* the policy of the image, then --policy */
};

struct verb {
	const char *name;
	unsigned bit;
	int (*run)(struct command *, struct crcore_error *);
	const char *operands;   /* for people: what follows the flags; NULL: nothing may */
	bool needs_pid;
	bool quiet;             /* prints no result of its own */
	enum base base;
	const char *summary;
};
extern const struct verb verbs[];  /* ends with name NULL */

struct args;

struct flag {
	const char *name;
	int letter;             /* 0: none */
	const char *metavar;    /* NULL: takes no value; "[X]": may take one */
	unsigned verbs;
	/* One of these: an operand of this run, taken by apply() ... */
	int (*apply)(struct args *, const char *value, struct crcore_error *);
	/* ... or an option of a plugin (NULL: of the core) ... */
	const char *plugin, *option;
	const char *text;       /* the value where the flag has none */
	bool append;
	/* ... or, neither: what changes the policy as a whole */
	const char *help;
};
extern const struct flag flags[];  /* ends with name NULL; a name may come twice, for other verbs */

/* What was given, in order. */
struct given {
	const struct flag *flag;
	const char *value;
	char origin[40];        /* "--leave-running" or "-R": as it was written */
};

struct args {
	struct command command;
	const struct verb *verb; /* NULL: help or version was asked for */
	struct given *given;
	unsigned ngiven;
	bool help, man, version;
	bool images_dir;         /* -D was given */
};

/* Parses; what is wrong is wrong usage. Changes the order of argv. */
int args_parse(struct args *, int argc, char **argv, struct crcore_error *);
/* Loads the policy of the command and lays the flags over it. */
int args_policy(struct args *, struct crcore_error *);
void args_free(struct args *);
/* stream.c: what does not go together with --stream; and before a restore of one, makes the
 * image that is then restored. */
int stream_check(const struct args *, struct crcore_error *);
int stream_receive(struct command *, struct crcore_error *);
/* Removes what was received. But it may be all that is left of a tree: what is whole and was
 * not restored stays, and the error says so. */
void received_end(struct command *, bool restored, struct crcore_error *);
const struct verb *verb_find(const char *name);

/* What kind of value, for args.c and help.c. */
bool flag_value_optional(const struct flag *);

void help_print(FILE *, const struct verb *); /* NULL: all */
void help_man(FILE *);                        /* the manual page, man(7) */
#endif
