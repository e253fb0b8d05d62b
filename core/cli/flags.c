/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables. A flag here is either an operand of one run (apply), or an option
 * of the core that the policy has too. Flags for options of plugins come from
 * plugins/flags.h, since the core knows no plugin.
 */
#include "core/cli/flags.h"
#include "core/util/util.h"
#include <limits.h>

const struct verb verbs[] = {
	{ "dump", V_DUMP, command_dump, NULL, true, true, BASE_DEFAULT,
	  "save a process tree to a folder of images" },
	{ "restore", V_RESTORE, command_restore, NULL, false, true, BASE_IMAGE,
	  "bring a saved tree back" },
	{ "check", V_CHECK, command_check, NULL, false, false, BASE_DEFAULT,
	  "what this machine lacks, or (-t) what keeps a live tree from being saved" },
	{ "show", V_SHOW, command_show, NULL, false, false, BASE_NONE,
	  "print what is in an image" },
	{ "merge", V_MERGE, command_merge, "DIR", false, true, BASE_DEFAULT,
	  "make one image (-D) of that in DIR and of those that it was made on" },
	{ "exec", V_EXEC, command_exec, "SYSCALL [ARG...]", true, false, BASE_NONE,
	  "let another task make one system call" },
	{ "plugins", V_PLUGINS, command_plugins, NULL, false, false, BASE_DEFAULT,
	  "print what plugins would be loaded, and what each does" },
	{ "policy", V_POLICY, command_policy, NULL, false, false, BASE_DEFAULT,
	  "print the policy in force, and where each value is from" },
	{ NULL },
};

const struct verb *verb_find(const char *name)
{
	for (const struct verb *v = verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

static int take_pid(struct args *a, const char *value, struct crcore_error *err)
{
	char *end;

	errno = 0;
	long v = strtol(value, &end, 10);
	if (errno || *end || v <= 0 || v > INT_MAX || value[0] < '0' || value[0] > '9')
		return crcore_fail(err, -EINVAL, "'%s' is not a pid", value);
	a->command.pid = (pid_t)v;
	return 0;
}

static int take_images_dir(struct args *a, const char *value, struct crcore_error *err)
{
	if (!*value)
		return crcore_fail(err, -EINVAL, "the name of a folder must not be empty");
	a->command.images_dir = value;
	a->images_dir = true;
	return 0;
}

static int take_prev_images_dir(struct args *a, const char *value, struct crcore_error *err)
{
	if (!*value)
		return crcore_fail(err, -EINVAL, "the name of a folder must not be empty");
	a->command.prev_images_dir = value;
	return 0;
}

static int take_log_file(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.log_file = value;
	return 0;
}

/* -v: one more; -vN: N, from 1, errors only (as 0), to 4, everything. */
static int take_verbosity(struct args *a, const char *value, struct crcore_error *err)
{
	int *v = &a->command.verbosity;

	if (!value) {
		*v += *v < 3;
	} else if (value[0] >= '0' && value[0] <= '9' && !value[1]) {
		*v = value[0] - '1';
		*v = *v < 0 ? 0 : *v > 3 ? 3 : *v;
	} else if (strspn(value, "v") == strlen(value)) { /* -vvv */
		*v += 1 + (int)strnlen(value, 3);
		*v = *v > 3 ? 3 : *v;
	} else {
		return crcore_fail(err, -EINVAL, "'%s' is not a level from 0 to 4", value);
	}
	return 0;
}

static int take_pidfile(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.pidfile = value;
	return 0;
}

static int take_json(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.json = true;
	return 0;
}

static int take_trace(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.trace = value;
	return 0;
}

static int take_plan(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.plan = true;
	return 0;
}

static int take_stream(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.stream = true;
	return 0;
}

static int take_keep_images(struct args *a, const char *value, struct crcore_error *err)
{
	a->command.keep_images = true;
	return 0;
}

static int take_help(struct args *a, const char *value, struct crcore_error *err)
{
	a->help = true;
	return 0;
}

#define OPERAND(name, letter, metavar, verbs, fn, help) \
	{ name, letter, metavar, verbs, fn, NULL, NULL, NULL, false, help },
#define CORE(name, letter, verbs, option, text, help) \
	{ name, letter, NULL, verbs, NULL, NULL, option, text, false, help },
/* `crcore policy` takes them all, to show what they do. */
#define FLAG(name, letter, metavar, verbs, plugin, option, text, append, help) \
	{ name, letter, metavar, (verbs) | V_POLICY, NULL, plugin, option, text, append, help },

const struct flag flags[] = {
	OPERAND("tree", 't', "PID", V_DUMP | V_CHECK | V_EXEC, take_pid, "root of the process tree")
	OPERAND("images-dir", 'D', "DIR", V_DUMP | V_RESTORE | V_SHOW | V_MERGE | V_PLUGINS | V_POLICY,
	        take_images_dir, "folder of the images (the current one)")
	OPERAND("log-file", 'o', "FILE", V_ALL, take_log_file, "write the log there, not to stderr")
	OPERAND("verbosity", 'v', "[N]", V_ALL, take_verbosity,
	        "more log; -v1 errors, -v2 warnings (default), -v3 what is done, -v4 all")
	OPERAND("json", 0, NULL, V_ALL, take_json, "results and errors as JSON on stdout")
	OPERAND("help", 'h', NULL, V_ALL, take_help, "print this")

	{ "policy", 0, "FILE", V_WITH_POLICY | V_MERGE, NULL, NULL, NULL, NULL, false,
	  "a policy by path or name; more than one: later over earlier" },
	{ "plugins", 0, "LIST", V_WITH_POLICY, NULL, NULL, NULL, NULL, false,
	  "exactly these plugins, or '+a,-b' to add and remove" },
	{ "set", 0, "KEY=VALUE", V_WITH_POLICY | V_MERGE, NULL, NULL, NULL, NULL, false,
	  "any option, e.g. dump.timeout=20s or PLUGIN.OPTION=VALUE; += adds to a list" },

	{ "compress", 0, "[CODEC]", V_DUMP | V_MERGE | V_POLICY, NULL, NULL, "dump.compress", "lz4",
	  false, "pack the pages of memory: lz4, or --compress=zstd, which is smaller and slower" },
	CORE("leave-running", 'R', V_DUMP | V_POLICY, "dump.leave", "running",
	     "let the tree run on once it is saved")
	CORE("track-mem", 0, V_DUMP | V_POLICY, "dump.track-memory", "yes",
	     "track what is written to from now on, so that a next dump saves only that")
	OPERAND("prev-images-dir", 0, "DIR", V_DUMP, take_prev_images_dir,
	        "save only what changed since that image; a relative DIR is seen from that of -D")
	CORE("precopy", 0, V_DUMP | V_POLICY, "dump.copy-ahead", "yes",
	     "copy memory while the tree runs, also if it is then killed or stopped")
	CORE("leave-stopped", 's', V_DUMP | V_POLICY, "dump.leave", "stopped",
	     "leave the tree stopped once it is saved")
	CORE("leave-stopped", 's', V_RESTORE, "restore.stopped", "yes",
	     "leave the restored tree stopped")
	CORE("shell-job", 'j', V_DUMP | V_CHECK | V_RESTORE | V_POLICY, "dump.shell-job", "yes",
	     "the tree is a job of a shell: its session is outside the tree")
	CORE("restore-detached", 'd', V_RESTORE | V_POLICY, "restore.detached", "yes",
	     "end when the tree runs, do not wait for its root")
	CORE("lazy", 0, V_RESTORE | V_POLICY, "restore.lazy", "yes",
	     "run the tree at once, and load its memory when it is needed")
	CORE("restore-sibling", 'S', V_RESTORE | V_POLICY, "restore.sibling", "yes",
	     "the root becomes a child of crcore's parent")
	{ "join-ns", 0, "FILE", V_RESTORE, NULL, NULL, "restore.join-ns", NULL, true,
	  "a namespace that the tree joins: /proc/PID/ns/mnt, or a file that it is bound to" },
	OPERAND("pidfile", 0, "FILE", V_RESTORE, take_pidfile, "write the pid of the root there")
	OPERAND("trace", 0, "FILE", V_DUMP | V_RESTORE, take_trace,
	        "write a timeline there, for a trace viewer (ui.perfetto.dev)")
	OPERAND("stream", 0, NULL, V_DUMP, take_stream,
	        "write the image to standard output, as a tar archive, not to a folder")
	OPERAND("stream", 0, NULL, V_RESTORE, take_stream,
	        "read the image from standard input into the folder -D, which is then removed")
	OPERAND("keep-images", 0, NULL, V_RESTORE, take_keep_images,
	        "with --stream: leave the image in the folder -D")
	OPERAND("plan", 0, NULL, V_RESTORE, take_plan, "print what would be done, and do nothing")

#include "plugins/flags.h"
	{ NULL },
};

bool flag_value_optional(const struct flag *f)
{
	return f->metavar && f->metavar[0] == '[';
}
