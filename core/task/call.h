/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that stopped threads make outside of any program, many at once:
 * each step is taken for all of them before the next, so that a tree of many
 * processes waits for the slowest and not for the sum.
 */
#ifndef CRCORE_TASK_CALL_H
#define CRCORE_TASK_CALL_H

#include "core/task/arch/x86_64.h"
#include <crcore/error.h>

struct call {
	pid_t tid;        /* traced, and at rest (stops.h) */
	bool known;       /* before and mask are filled in, and it was seized by stop_seize() */
	long options;     /* PTRACE_O_* that it is traced with, besides ours; not if known */
	uint64_t insn;    /* a system call instruction in its address space */
	long nr;
	uint64_t args[6];
	uint64_t undo;    /* for a landing behind insn: see landing.c */

	int r;            /* 0, or why it was not made: a negative errno */
	int64_t result;   /* of the system call, if r is 0 */

	arch_regs before; /* registers and mask that it has: put back behind the call */
	uint64_t mask;
	bool changed;     /* belongs to call.c: registers or mask are */
};

/* Makes them all; a thread whose call fails does not keep the others from theirs.
 * Registers and masks are then as before. Each must be of another thread. */
void calls_make(struct call *, size_t n);
/* Fills the error for a call that was not made (r < 0); returns r. */
int call_error(const struct call *, struct crcore_error *);
#endif
