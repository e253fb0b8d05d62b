/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tasks have in common, told of all tasks at once. A few instructions of ours, run by the
 * kernel for each task (alike_bpf.c), write down where it keeps what the task has. Two tasks with
 * the same address share what is there; an address says nothing else, so what it is the ordinary
 * way tells, through one of those that have it. Other ways to tell, one task after the other
 * (kcmp(2), links of /proc), take 60 us for each.
 *
 * It is told of a tree at one moment. If that runs it may be otherwise by the time it is used.
 */
#ifndef CRCORE_TASK_ALIKE_H
#define CRCORE_TASK_ALIKE_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stdint.h>

struct task;
struct tree;

enum alike_what {
	ALIKE_BORN, ALIKE_EXECS, ALIKE_MAPPINGS, /* of no address: see alike_unchanged() */
	ALIKE_MM, ALIKE_FILES, ALIKE_FS, ALIKE_SIGHAND, /* as clone(2) has them shared */
	ALIKE_NAMESPACES, ALIKE_USERS, ALIKE_LEVEL,     /* of users; how deep that of pids is */
	ALIKE_GROUPS, ALIKE_EXE, ALIKE_CWD, ALIKE_CWD_MOUNT, ALIKE_ROOT, ALIKE_ROOT_MOUNT,
	ALIKES
};
struct alike { bool known; uint64_t v[ALIKES]; };

/* How it is told; types < 0 or program < 0: it is not. */
struct alike_how { int types, program; };
void alike_open(struct alike_how *);  /* before namespaces are entered */
void alike_close(struct alike_how *);
/* Is to get ready worth its while for the tree? It takes a millisecond and a half. */
bool alike_is_worth_it(const struct tree *);
void alike_prepare(struct alike_how *);
int alike_try(void); /* < 0: it cannot be told here */
/* Fills in alike of all tasks. Of those that it is not told of it stays unknown. */
void alike_tell(const struct alike_how *, struct tree *);
/* Do they share all n, from that on? Not known: no. */
bool alike_same(const struct task *, const struct task *, enum alike_what from, unsigned n);
/* Nothing was mapped, unmapped or changed in the memory of a task (of which it was told after)
 * since it was told before. The kernel counts how often it locks the list of mappings for that, and
 * the calls of exec; only some kernels count the former. */
bool alike_unchanged(const struct alike *before, const struct alike *after);

/* -- alike_bpf.c -- */
struct alike_words { uint64_t pid, v[ALIKES]; };
/* A program that writes these for each first thread of a process in our pid namespace. */
int alike_program(int types, struct crcore_error *);
/* A descriptor that they are read from. */
int alike_words(int program);
#endif
