/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timeline of a command (--trace FILE): what happened when, for each stage,
 * plugin, task and thread of ours, in the JSON that trace viewers open
 * (ui.perfetto.dev, chrome://tracing). Costs a clock reading where it is off.
 *
 *   uint64_t t = trace_start();
 *   ...
 *   trace_end(t, TRACE_HERE, "stage", "collect");
 */
#ifndef CRCORE_TRACE_H
#define CRCORE_TRACE_H

#include <crcore/error.h>
#include <stdint.h>
#include <sys/types.h>

/* Makes the file; what is noted from then on goes there with trace_write(). title: a
 * literal, what the rows of crcore itself are called. */
int trace_open(const char *path, const char *title, struct crcore_error *);
/* The time, 0 where nobody wants a timeline. */
uint64_t trace_start(void);
/* Notes what has been done since then, in a row: of the calling thread, of the tree
 * as a whole, or (a pid) of a task. Any thread may. category: a literal. */
enum { TRACE_HERE = 0, TRACE_TREE = -1 };
__attribute__((format(printf, 4, 5)))
void trace_end(uint64_t start, pid_t row, const char *category, const char *fmt, ...);
/* What a row of a task is called. */
void trace_task(pid_t, const char *comm);
/* Writes the file. The process that works does it, once, whatever became of the work. */
void trace_write(void);
#endif
