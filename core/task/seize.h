/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming the tracer of a thread, and saying why that cannot be: pieces of
 * freeze.c.
 */
#ifndef CRCORE_TASK_SEIZE_H
#define CRCORE_TASK_SEIZE_H

#include <signal.h>
#include "core/task/task.h"

/* 1: seized and asked to stop, 0: it has ended, -EAGAIN: it cannot be seized before
 * the ends of threads that we have were waited for (only between seize_start and
 * seize_stop, which use SIGALRM). */
int thread_seize(struct thread *, struct crcore_error *);
/* Whether a thread is in a job-control stop. To seize one moves it to a stop of ours, which
 * takes that it may run: where it may not, the call would not return. */
bool thread_is_stopped(const struct thread *);
struct seize_timer {
	struct sigaction action;
	sigset_t mask;
};
void seize_start(struct seize_timer *);
void seize_stop(struct seize_timer *);
/* A child that it made while it was ours is ours as well, and stops, if it asked for that
 * (CLONE_PTRACE). It may wait for that child (CLONE_VFORK), so the child goes on without us. */
void thread_release_children(const struct thread *, const struct tree *known);
/* Fills the error for a step with the thread that failed. Returns code. */
int thread_failed(const struct thread *, int code, const char *what, struct crcore_error *);
/* Fills the error for one that does not stop, with what it waits for. -ETIMEDOUT. */
int thread_refuse(const struct thread *, struct crcore_error *);
#endif
