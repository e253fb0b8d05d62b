/* SPDX-License-Identifier: Apache-2.0 */
/* How long a thread has slept, by what the scheduler shows of it. */
#ifndef CRCORE_TASK_SLEPT_H
#define CRCORE_TASK_SLEPT_H

#include <stdint.h>
#include <sys/types.h>

struct sched_clocks;
struct sched_clocks *sched_clocks_new(void); /* NULL: out of memory */
/* Lets the calling thread run on the processors again that it was allowed. */
void sched_clocks_free(struct sched_clocks *);

/* Nanoseconds since the sleeping thread ran last, 0: unknown. *ret_sleeps: how often
 * it has gone to sleep in its life. May move the calling thread to its processor. */
uint64_t slept_ns(struct sched_clocks *, int proc, pid_t tid, uint64_t *ret_sleeps);

#endif
