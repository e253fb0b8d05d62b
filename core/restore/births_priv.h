/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of births while it is made: for the births*.c files. */
#ifndef CRCORE_BIRTHS_PRIV_H
#define CRCORE_BIRTHS_PRIV_H

#include "core/restore/births.h"
#include "core/util/util.h"

#define ORPHAN (-2) /* birth.creator, meanwhile: its parent cannot clone it */

struct pid_index { pid_t pid; int task; };

struct plan {
	Crcore__Task *const *tasks;
	unsigned n;
	pid_t outer_sid, outer_pgid;
	struct births *births;      /* of task t at index t until births_order() */
	struct pid_index *by_pid;
	int *parent;                /* task index; -1: root */
	pid_t *need;                /* session it must be born in; 0: any */
	bool *first[4];             /* per sort of shared thing: false: first to have it */
};

int plan_find(const struct plan *, pid_t);
bool plan_is_leader(const struct plan *, int task);
bool plan_is_above(const struct plan *, int a, int b);
int plan_refuse(const struct plan *, int task, struct crcore_error *, const char *why);
/* Appends a helper; returns its index. */
int plan_helper(struct plan *, struct birth, struct crcore_error *);

int births_orphans(struct plan *, struct crcore_error *); /* births_orphans.c */
int births_groups(struct plan *, struct crcore_error *);  /* births_groups.c */
int births_order(struct plan *, struct crcore_error *);   /* births_order.c */

#endif
