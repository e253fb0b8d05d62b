/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "seccomp": what a thread may ask the kernel for. Filters, in their
 * order, and strict mode.
 *
 *   seccomp.c  the plugin: refusals while the tree runs
 *   dump.c     filters are read through ptrace, each distinct one is saved once
 *   restore.c  threads install them as the last that they do
 *
 * A filter that is forgotten is a hole in somebody's sandbox: whatever cannot be
 * read or installed exactly fails the command.
 */
#ifndef CRCORE_PLUGIN_SECCOMP_H
#define CRCORE_PLUGIN_SECCOMP_H

#include <crcore/plugin.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include "seccomp.pb-c.h"
#include "plugins/record.h"

struct seccomp {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	/* both ways: ids are positions + 1 */
	Seccomp__Filter **filters;
	unsigned nfilters;
	Seccomp__Thread **threads;
	unsigned nthreads;
};

enum mode { MODE_FREE, MODE_STRICT, MODE_FILTER };

/* seccomp.c */
struct thread_status { int mode; unsigned filters; bool mitigated; };
/* Of /proc/PID/task/TID/status; -ESRCH: the thread is gone. */
int seccomp_status(pid_t pid, pid_t tid, struct thread_status *ret, struct crcore_error *);

/* dump.c */
int seccomp_ask(void *state, const struct crcore_task *, struct crcore_program *,
                struct crcore_error *);
int seccomp_save(void *state, struct crcore_error *);

/* restore.c */
int seccomp_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *);
int seccomp_check(void *state, struct crcore_error *);
int seccomp_emit_thread(void *state, const struct crcore_task *, uint32_t thread,
                        struct crcore_program *, struct crcore_error *);
/* For both: is crcore allowed to look at, suspend and install filters? */
int seccomp_may(struct crcore_error *);
#endif
