/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guard: a process that does something should this one be killed, so that nothing of
 * it can run any more. It waits for a robust mutex that we hold; the kernel passes it on
 * as one of the first things when we die, before it lets our tracees go (exit_mm comes
 * before exit_notify in the kernel's do_exit). So the guard is awake, and as a rule done,
 * before a task that we had stopped runs again.
 */
#ifndef CRCORE_UTIL_GUARD_H
#define CRCORE_UTIL_GUARD_H

#include <crcore/error.h>
#include <pthread.h>
#include <sys/types.h>

/* In memory mapped shared; what else last() needs to know lies there too, or is as it
 * was when the guard was made. */
struct guard {
	pthread_mutex_t life; /* ours, as long as we live */
	pid_t pid;
};

/* Makes the guard. It has no descriptors, and calls last(arg) only if we are killed. */
int guard_begin(struct guard *, void (*last)(void *arg), void *arg, struct crcore_error *);
/* It is not needed any more: ends and reaps it. */
void guard_end(struct guard *);
#endif
