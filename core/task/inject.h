/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that put code into a task: inject.c, landing.c, run.c, life.c. */
#ifndef CRCORE_TASK_INJECT_H
#define CRCORE_TASK_INJECT_H

#include "core/task/call.h"
#include "core/task/task.h"

#define INJECT_TIMEOUT 10000000000ull /* ns, for a single system call */
#define ALL_SIGNALS (~0ull)

struct placed {
	struct thread *thread;
	prog *prog;
	bool running; /* in the interpreter, not stopped */
	bool ran;
};

/* A region in the address space of a stopped thread. */
struct inject {
	struct thread *thread;   /* through which it was opened, and will be closed */
	uint64_t insn;           /* a system call instruction in that address space */
	uint64_t slots;          /* room for landings there */
	unsigned nslots;
	uint64_t slot;           /* the one in use, 0: none */
	uint64_t remote;         /* where the task has the region */
	struct region *local;    /* where we have it */
	size_t size, used;       /* the last page of its data is never touched: inject_populated() */
	size_t code;             /* at the end, mapped without a right to write; 0: none is */
	size_t used_code;        /* of that */
	struct placed *placed;
	unsigned nplaced;
	bool stuck;              /* a thread did not come back: leave the region */
};

/* Has the kernel filled all of it when the task mapped it (mlockall(2))? */
bool inject_populated(const struct inject *);

/* Finds insn and slots. */
int landing_find(struct thread *, struct inject *, struct crcore_error *);
/* Where the thread is to make a call outside of any program: fills tid and insn. If we
 * die meanwhile, the thread goes back to the application by itself, where there is room
 * for a landing, and unmaps what the call mapped (undo: how much). The landing stays. */
void landing_prepare(struct inject *, const struct thread *, struct call *);
/* No more calls are to be made: their place is as it was. */
void landing_clean(struct inject *, const struct thread *);

/* Bytes of our vdso (as everybody's) that are its file; 0: there is none. */
size_t vdso_own_length(void);
ssize_t read_task(pid_t, uint64_t addr, void *buf, size_t len);

/* Ends what life_init() began. */
void life_release(struct region *);
#endif
