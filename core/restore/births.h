/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who clones whom, so that a tree comes back with the parents, sessions and
 * process groups that it had. Computed from the Task records alone: pure, no
 * privileges, tested with random trees (tests/unit/unit-plan.c).
 *
 * What the kernel allows bounds what can be planned:
 *  - a child is born into the session and group of whoever clones it, and the
 *    only way out is setsid(), into a session with its own number;
 *  - setpgid() joins a group of the same session only;
 *  - CLONE_PARENT makes a child of the cloner's parent;
 *  - the children of a task that exits go to the nearest ancestor that is a
 *    subreaper, and stay in their session.
 * So a task whose session its parent cannot give it is cloned by the leader of
 * that session (CLONE_PARENT), or below it by a helper whose exit hands the
 * task over. A leader that is dead is replaced by a helper with its number.
 */
#ifndef CRCORE_BIRTHS_H
#define CRCORE_BIRTHS_H

#include <stdbool.h>
#include <sys/types.h>
#include "core/image/core.pb-c.h"
#include <crcore/error.h>

struct birth {
	pid_t pid;           /* helpers of a round: 0 until a free number is chosen */
	int task;            /* index among the tasks; -1: a helper, which exits */
	int creator;         /* birth that clones it; -1: main */
	int up;              /* live task that it reports to at barriers; -1: the root task */
	bool sibling;        /* cloned with CLONE_PARENT */
	bool early;          /* cloned before its creator's setsid() */
	bool leads_session;
	bool leads_group;    /* setpgid(0, 0) before anybody joins */
	pid_t joins;         /* setpgid(0, joins) once all groups exist; 0: no; -1: main's group */
	bool joins_late;     /* it leads a group that it left: only when all have joined */
	bool zombie;
	int round;           /* helper: its exit gives its children to rounds[round]; -1: to nobody */
	uint64_t share;      /* CLONE_VM, CLONE_FILES, CLONE_FS, CLONE_SIGHAND with its creator */
	int exit_signal;
};

struct births {
	struct birth *v;     /* creators before those they clone; main clones v[0] */
	unsigned n;
	int *of_task;        /* birth of each task */
	unsigned ntasks;
	int *rounds;         /* births that are, one after the other, the only subreaper */
	unsigned nrounds;
};

/* outer_sid, outer_pgid: of the root, outside the tree (manifest); 0: none.
 * Refuses, naming the task, what cannot come back. */
int births_plan(Crcore__Task *const *tasks, unsigned ntasks, pid_t outer_sid, pid_t outer_pgid,
                struct births *ret, struct crcore_error *);
void births_free(struct births *);
/* The birth at which the memory that a task begins with is copied: its own, or
 * that of the first in a line of helpers and zombies that leads to it. */
int births_moment(const struct births *, unsigned task);

#endif
