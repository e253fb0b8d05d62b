/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a tree that is not stopped stands still by itself. */
#ifndef CRCORE_TASK_QUIET_H
#define CRCORE_TASK_QUIET_H

#include "core/task/task.h"

struct quiet {
	struct quiet_thread {
		pid_t tid;
		bool sleeps;         /* at that moment */
		bool keeps_nothing;  /* ... in no call that may keep open what others have closed */
		uint64_t switches;   /* how often it has gone to sleep or lost its processor by then */
	} *v;                        /* in the order of the tree's tasks and their threads */
	unsigned n;
};

/* All threads at this moment; what cannot be told counts as running. */
int quiet_look(const struct tree *, struct quiet *ret, struct crcore_error *);
void quiet_free(struct quiet *);

/* At both moments there were the same threads, and none has run in between. */
bool quiet_since(const struct quiet *, const struct quiet *before);

/* That tells of this tree, whose records say who shares a descriptor table: does every thread that
 * has one with others sleep where it keeps nothing? */
bool quiet_keeps_nothing(const struct quiet *, const struct tree *);
#endif
