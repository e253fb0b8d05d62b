/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ptrace stops (ptrace(2)). A thread that we hold rests only in PTRACE_EVENT_STOP:
 * there our death sends it no signal, and the kernel goes on with whatever it
 * interrupted. Every other stop is passed through at once.
 */
#ifndef CRCORE_TASK_STOPS_H
#define CRCORE_TASK_STOPS_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Becomes the tracer: 0, or a negative errno. Does not stop the thread. */
int stop_seize(pid_t tid);
/* Sets its options, with PTRACE_O_TRACESYSGOOD. */
int stop_options(pid_t tid, long options);
/* Asks a thread to stop. */
int stop_ask(pid_t tid);

/* The next change of a thread that we trace: 1 with its wait status, 0 if there
 * was none until deadline (now_ns; 0: just look), -ESRCH if it is gone or no longer ours. */
int stop_next(pid_t tid, uint64_t deadline, int *ret_status);

/*
 * Waits until a thread that was asked to stop rests. *ret_signal: 0, or the
 * signal of the job-control stop that it is in. -ETIMEDOUT, -ESRCH (it ended).
 * Signals that come first are delivered, not lost.
 */
int stop_rest(pid_t tid, uint64_t deadline, int *ret_signal);

/*
 * A thread that has just stopped may be on its way back to the application from
 * a coordinator that was killed (inject.h). Leads it there, and reads its
 * registers again. Call it after regs_read(). At most a moment.
 */
struct thread;
int stop_after_orphan(struct thread *, struct crcore_error *);

bool stop_is_dead(pid_t tid);    /* ended, if not reaped yet */
bool stop_is_event(int status);  /* PTRACE_EVENT_STOP */
int stop_signal(int status);     /* to pass on with the next resume, 0: none */
#endif
