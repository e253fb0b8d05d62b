/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task programs as the coordinator writes them: a growing list of operations
 * and data, relocated and copied into a region (parasite/program.h) when it
 * is complete. Pure memory: needs no privileges and no task, so a program can
 * be printed and tested without ever running.
 */
#ifndef CRCORE_PROGRAM_H
#define CRCORE_PROGRAM_H

#include <crcore/plugin.h>
#include <stdio.h>
#include "parasite/program.h"

typedef struct crcore_program prog;

prog *prog_new(void);
void prog_free(prog *); /* NULL is fine */

/* As data(), call(), pointer(), load() and store() of struct crcore_host. */
uint32_t prog_data(prog *, const void *bytes, size_t len);
uint32_t prog_call(prog *, const char *label, uint32_t nr, const struct crcore_arg args[6],
                   uint32_t expect, int64_t want);
void prog_pointer(prog *, uint32_t at, uint64_t at_offset, uint32_t to, uint64_t to_offset);
uint32_t prog_load(prog *, const char *label, uint32_t at, uint64_t offset);
uint32_t prog_store(prog *, const char *label, uint32_t at, uint64_t offset, uint32_t size,
                    uint32_t op);
/* An op whose result is where the task has the region that the program is in. */
uint32_t prog_region(prog *, const char *label);
/* An op other than a system call (OP_SPAWN, OP_WAIT, OP_POST, OP_EXIT). */
uint32_t prog_op(prog *, const char *label, uint16_t code, const struct crcore_arg args[6],
                 uint32_t expect, int64_t want);

#define IMM(v) ((struct crcore_arg){ CRCORE_IMM, 0, (uint64_t)(v) })
#define DATA(r) ((struct crcore_arg){ CRCORE_DATA, (r), 0 })
#define DATA_AT(r, off) ((struct crcore_arg){ CRCORE_DATA, (r), (off) })
#define RESULT(op) ((struct crcore_arg){ CRCORE_RESULT, (op), 0 })
/* CALL(p, "label", SYS_x, EXPECT_OK, 0, IMM(1), DATA(d)): the usual way. */
#define CALL(p, label, nr, expect, want, ...) \
	prog_call(p, label, nr, (const struct crcore_arg[6]){ __VA_ARGS__ }, expect, want)
#define OP(p, label, code, expect, want, ...) \
	prog_op(p, label, code, (const struct crcore_arg[6]){ __VA_ARGS__ }, expect, want)

uint32_t prog_nops(const prog *);
/* Takes back the last operations, so that n are left; nothing may refer to them. */
void prog_cut(prog *, uint32_t n);
size_t prog_size(const prog *); /* bytes prog_place() needs, 64-byte multiple, stack included */

/*
 * Copies the program to local (where the coordinator has the region mapped),
 * relocated for address remote (where the task has it). Fills struct program
 * at local except frame, region, id, orphan (the caller's). After the run
 * prog_result() and prog_answer() read from there. -ENOMEM if any earlier
 * append failed.
 */
int prog_place(prog *, void *local, uint64_t remote, struct crcore_error *);
int64_t prog_result(const prog *, uint32_t op);       /* -ENODATA if the op did not run */
const void *prog_answer(const prog *, uint32_t ref);
struct program *prog_local(const prog *);             /* NULL before prog_place() */
const char *prog_label(const prog *, uint32_t op);

/* One line an operation, as `restore --plan` shows it. */
void prog_print(const prog *, FILE *, const char *indent);
/* "openat" for SYS_openat; NULL if unknown. -1 if the name is unknown. */
const char *syscall_name(uint32_t nr);
int64_t syscall_number(const char *name);

/* Fills err from a failed program: operation, errno, task. Returns the errno. */
int prog_failure(const prog *, pid_t pid, struct crcore_error *);

/* Test builds only (meson -Dfault-injection=true): CRCORE_FAIL_OP="LABEL" (each
 * with it), "LABEL@N" (the Nth with it, from 0) or "#N" (the Nth of all that the
 * process places) makes prog_place() mark operations OP_FAIL: they fail with EIO. */
#endif
