/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a security module confines a thread in a way that nobody tells of (Landlock): a
 * thread may then not look at processes that are not confined with it, whoever owns them. So
 * each is made to ask for something harmless of a process that it could look at otherwise.
 */
#ifndef CRCORE_TASK_WITNESS_H
#define CRCORE_TASK_WITNESS_H

#include "core/task/task.h"

struct witnesses {
	struct witness { uint32_t uid, gid; pid_t pid; } *v;
	unsigned n;
	unsigned nunknown;    /* of so many users and groups none can be made: the first is ... */
	uint32_t unknown;
};
/* The process to be asked about: crcore itself, where that may be looked at, else one with the
 * thread's user and group, without capabilities. It has ended: there is nothing in it to be had.
 * 0: it cannot be made, so what confines the thread stays unknown. */
pid_t witness_for(struct witnesses *, const Crcore__Creds *);
/* The answer was that it may not: 0 if that is because of a module that says so itself. */
int witness_refuse(const struct thread *, struct crcore_error *);
/* Warns of those that cannot be made, once for all. */
void witnesses_tell(const struct witnesses *);
void witnesses_free(struct witnesses *);
#endif
