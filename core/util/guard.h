/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guard: a process that does something should this one be killed, so that nothing of
 * it can run any more. It is our tracer, with PTRACE_O_TRACEEXIT: the kernel stops us at
 * the very beginning of our death, SIGKILL or not, and goes on with it when the guard says
 * so. Until then whatever we trace stays in its stops, and our locks stay taken.
 *
 * Where somebody else traces us (strace) it waits for a robust mutex that we hold, which
 * the kernel passes on before it lets our tracees go (exit_mm comes before exit_notify in
 * the kernel's do_exit): then it is a race, which the guard mostly wins.
 *
 * A reader could break: a tracee is stopped for every signal, ignored ones too, so SIGCHLD
 * is blocked in the thread that has a guard; and our end must be guard_end() first.
 */
#ifndef CRCORE_UTIL_GUARD_H
#define CRCORE_UTIL_GUARD_H

#include <crcore/error.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct guard_duty {
	void (*first)(void *arg); /* we do not run, and hold what we held */
	void (*last)(void *arg);  /* we are gone, and so are our helpers */
	bool shares_files;        /* it has our descriptors, and none that we close */
	void *arg;                /* memory mapped shared, or as it was when the guard was made */
};

/* In memory mapped shared. */
struct guard {
	pthread_mutex_t life; /* ours, as long as we live */
	uint32_t ready;       /* it stands by; a futex */
	pid_t pid;
	sigset_t mask;        /* ours, before */
};

/* Makes the guard of the calling thread. When it returns, the guard stands by and holds none
 * of our descriptors (or shares all); up to then it holds all of them. */
int guard_begin(struct guard *, const struct guard_duty *, struct crcore_error *);
/* It is not needed any more: ends and reaps it. */
void guard_end(struct guard *);
#endif
