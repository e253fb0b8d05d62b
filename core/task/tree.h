/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of the tree that freeze.c and tree.c share; the rest uses task.h. */
#ifndef CRCORE_TASK_TREE_H
#define CRCORE_TASK_TREE_H

#include "core/task/task.h"

/* Opens /proc/PID and a pidfd. -ESRCH: it is gone. Its threads are not listed yet. */
int task_open(pid_t pid, struct task *parent, struct task **ret, struct crcore_error *);
void task_free(struct task *); /* NULL is fine */
/* Reads state, ids and name again. */
int task_refresh(struct task *, struct crcore_error *);
/* Fills the error for a task without its first thread. -ENOTSUP. */
int task_refuse_leaderless(const struct task *, struct crcore_error *);
/* Lists the threads again; those known keep their state. */
int task_threads(struct task *, struct crcore_error *);
int tree_add(struct tree *, struct task *, struct crcore_error *);
/* tree_find.c: notes the last task by its pid; all of them, when some have gone. */
int tree_note(struct tree *, struct crcore_error *);
void tree_note_again(struct tree *);
/* Adds the children of the tasks [first, last) that are not in the tree yet. 1: some had gone
 * before they could be added. */
int tree_add_children(struct tree *, unsigned first, unsigned last, struct crcore_error *);
/* Of a tree that is stopped: drops tasks that are gone without a trace ... */
void tree_drop_reaped(struct tree *);
/* ... and sets what plugins see of the others' states. */
void tree_set_states(struct tree *);

#endif
