/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the coordinator and the interpreter inside a task share: the layout of
 * the region (one shared mapping) and the operations of a task program.
 * Included by both sides; freestanding; no pointers, only addresses as the
 * task sees them (uint64_t).
 *
 * Region: [ header | interpreter code | programs: struct program, ops, data, stack ]
 *
 * Dump: one region per address space, mapped by one injected mmap. Restore:
 * one region for the whole tree, a memfd at the same address in every task.
 *
 * Life: the coordinator holds `life`, a robust pthread mutex whose first word
 * the kernel marks with FUTEX_OWNER_DIED when the coordinator is gone. A task
 * that waits (for a word, or for its next run) also waits for that, with
 * futex_waitv and no timeout, so that the restart block of the system call it
 * was taken from stays as it was. An orphan then does what program.orphan
 * says: go back to the application (dump), or exit (restore). Set the waiters
 * bit of the word: the kernel wakes one waiter only if it is set, and each
 * orphan wakes the others.
 */
#ifndef CRCORE_PARASITE_PROGRAM_H
#define CRCORE_PARASITE_PROGRAM_H

#include <stdint.h>

#define PROGRAM_PROTOCOL 1
#define REGION_MAGIC 0x6372636f72652d31ULL /* "crcore-1" */

enum op_code {
	OP_SYSCALL = 1, /* result = system call nr(args) */
	OP_SPAWN = 2,   /* clone3(args[0] = address of struct clone_args, args[1] = its size);
	                 * the new task runs the program at address args[2] */
	OP_WAIT = 3,    /* wait until the word (uint32_t) at args[0] is >= args[1] */
	OP_POST = 4,    /* add args[1] to the word at args[0] and wake all waiters */
	OP_EXIT = 5,    /* exit_group(args[0]) or, args[1] != 0, kill self by signal args[1] */
	OP_LOAD = 6,    /* result = the uint64_t at args[0] */
	OP_STORE = 7,   /* the args[2] bytes (4 or 8) at args[0] become args[1] */
};

enum op_expect { EXPECT_ANY = 0, EXPECT_OK = 1, EXPECT_EQUAL = 2 };

enum op_flags {
	OP_FAIL = 1, /* test builds: do not run it, fail with -EIO */
	OP_DONE = 2, /* set by the interpreter: result is valid */
};

struct op {
	uint16_t code;   /* enum op_code */
	uint8_t flags;   /* enum op_flags */
	uint8_t expect;  /* enum op_expect */
	uint32_t nr;     /* system call number */
	uint32_t result_args; /* bit i: arg[i] is the index of an op whose result is meant */
	uint32_t pad;
	uint64_t arg[6];
	int64_t want;
	int64_t result;
};

enum program_state {
	PROGRAM_IDLE = 0,   /* waits for PROGRAM_RUN */
	PROGRAM_RUN = 1,    /* set by the coordinator (or from the start) */
	PROGRAM_DONE = 2,   /* all operations done; idle, waits for PROGRAM_RUN again */
	PROGRAM_FAILED = 3, /* failed_op says which; idle */
	PROGRAM_LEFT = 4,   /* orphaned, on its way out */
};

/* ORPHAN_RETURN_BARE: with the fewest system calls, for a filter of them applies
 * to the task again as soon as its tracer is dead. */
enum orphan_action { ORPHAN_RETURN = 0, ORPHAN_EXIT = 1, ORPHAN_RETURN_BARE = 2 };

struct program {
	uint32_t state;     /* enum program_state; a futex */
	uint32_t orphan;    /* enum orphan_action */
	uint32_t nops;
	uint32_t failed_op;
	uint64_t ops;       /* address of struct op[nops] */
	uint64_t stack_top; /* 16-byte aligned */
	uint64_t frame;     /* ORPHAN_RETURN*: address of a struct frame (arch/), the application's
	                     * registers and signal mask, behind code that loads them; 0 with
	                     * ORPHAN_EXIT */
	uint64_t region;    /* address of struct region */
	uint32_t id;        /* number for messages: index of the program in the region */
	uint32_t undo;      /* ORPHAN_RETURN: system calls from this operation on are made all the
	                     * same before it leaves, if what they use was done; 0: none */
};

#define REGION_WORDS 32

struct region {
	uint64_t magic;
	uint32_t protocol;
	uint32_t failed;        /* 1 + id of the first program that failed; a futex */
	uint64_t entry;         /* address of the interpreter's entry: entry(struct program *) */
	uint64_t size;          /* bytes mapped */
	uint32_t words[REGION_WORDS]; /* barriers and flags for OP_WAIT and OP_POST */
	uint32_t done;          /* number of programs that reached DONE or FAILED; a futex */
	uint32_t done_want;     /* waiters of done are woken when it is at least this */
	uint32_t pad[14];
	uint32_t life[16];      /* pthread_mutex_t, robust, process-shared; [0] is the word */
};

#endif
