/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of the core's own options (core_options.h). docs/policy.md lists
 * them; a unit test compares the two.
 */
#include "core/policy/core_options.h"
#include "core/policy/internal.h"

static const char *const ahead_choices[] = { "auto", "yes", "no", NULL };
static const char *const compress_choices[] = { "none", "lz4", "zstd", NULL };
static const char *const nodes_choices[] = { "same", "any", NULL };
static const char *const leave_choices[] = { "kill", "running", "stopped", NULL };

#define SECOND 1000000000LL
#define DAY (86400 * SECOND)

const struct crcore_option core_options[] = {
	{ "dump.compress", CRCORE_CHOICE, "none", compress_choices, 0, 0,
	  "pack the pages of memory" },
	{ "dump.compress-level", CRCORE_INT, "0", NULL, 0, 19,
	  "of the codec: 1 is fast, higher is smaller; 0: as suits most" },
	{ "dump.copy-ahead", CRCORE_CHOICE, "auto", ahead_choices, 0, 0,
	  "copy memory while the tree runs, so that it stands still for a moment only" },
	{ "dump.leave", CRCORE_CHOICE, "kill", leave_choices, 0, 0,
	  "what becomes of the tree once it is saved" },
	{ "dump.shell-job", CRCORE_BOOL, "no", NULL, 0, 0,
	  "the session or group leader of the root may be outside the tree" },
	{ "dump.sync", CRCORE_BOOL, "no", NULL, 0, 0,
	  "force the image to disk before the dump is done" },
	{ "dump.timeout", CRCORE_SECONDS, "10s", NULL, SECOND / 1000, DAY,
	  "time to freeze the tree, and for its tasks to answer" },
	{ "dump.track-memory", CRCORE_BOOL, "no", NULL, 0, 0,
	  "track what is written to from now on, so that a next dump saves only that" },
	{ "restore.detached", CRCORE_BOOL, "no", NULL, 0, 0,
	  "do not wait for the root task" },
	{ "restore.join-ns", CRCORE_LIST, "[]", NULL, 0, 0,
	  "files of namespaces that the restored tree joins" },
	{ "restore.lazy", CRCORE_BOOL, "no", NULL, 0, 0,
	  "run the tree at once, and load its memory when it is needed" },
	{ "restore.memory-nodes", CRCORE_CHOICE, "same", nodes_choices, 0, 0,
	  "what becomes of NUMA policies for nodes that are not there: refused, or left out" },
	{ "restore.sibling", CRCORE_BOOL, "no", NULL, 0, 0,
	  "the root becomes a child of crcore's parent" },
	{ "restore.stopped", CRCORE_BOOL, "no", NULL, 0, 0,
	  "leave the restored tree stopped" },
	{ "restore.pid-wait", CRCORE_SECONDS, "5s", NULL, 0, DAY,
	  "how long to wait for a pid that a zombie still holds" },
	{ "restore.timeout", CRCORE_SECONDS, "0s", NULL, 0, DAY,
	  "time for the tree to be built; 0s: no limit" },
	{ "restore.verify", CRCORE_BOOL, "yes", NULL, 0, 0,
	  "check the checksums of the pages too" },
	{ NULL },
};

const struct crcore_option *core_option_find(const char *key)
{
	for (const struct crcore_option *o = core_options; o->name; o++)
		if (!strcmp(o->name, key))
			return o;
	return NULL;
}
