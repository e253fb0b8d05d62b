/* SPDX-License-Identifier: Apache-2.0 */
/* What a thread continues by restart_syscall(2): a piece of observe.c. */
#ifndef CRCORE_TASK_RESTART_H
#define CRCORE_TASK_RESTART_H

#include <stdint.h>
#include <sys/types.h>

/* By the code before ip, or by where in the kernel the thread sleeps now, -1: neither tells.
 * first_arg: of the call. */
int64_t restarted_call(int proc, pid_t tid, uint64_t ip, uint64_t first_arg);
#endif
