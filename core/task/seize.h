/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming the tracer of a thread, and saying why that cannot be: pieces of
 * freeze.c.
 */
#ifndef CRCORE_TASK_SEIZE_H
#define CRCORE_TASK_SEIZE_H

#include "core/task/task.h"

/* 1: seized and asked to stop, 0: it has ended. */
int thread_seize(struct thread *, struct crcore_error *);
/* Fills the error for a step with the thread that failed. Returns code. */
int thread_failed(const struct thread *, int code, const char *what, struct crcore_error *);
/* Fills the error for one that does not stop, with what it waits for. -ETIMEDOUT. */
int thread_refuse(const struct thread *, struct crcore_error *);
#endif
