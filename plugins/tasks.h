/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks of the tree, found by a number, and what is behind a descriptor of theirs. */
#ifndef PLUGINS_TASKS_H
#define PLUGINS_TASKS_H

#include <crcore/plugin.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* NULL: none of the tree. */
static inline const struct crcore_task *task_find(const struct crcore_host *host,
                                                  struct crcore_ctx *ctx, pid_t pid)
{
	const struct crcore_task *task;

	for (uint32_t i = 0; (task = host->task(ctx, i)); i++)
		if (task->pid == pid)
			return task;
	return NULL;
}

/* The one that has this thread. */
static inline const struct crcore_task *task_of_thread(const struct crcore_host *host,
                                                       struct crcore_ctx *ctx, pid_t tid)
{
	const struct crcore_task *task;

	for (uint32_t i = 0; (task = host->task(ctx, i)); i++)
		for (uint32_t t = 0; t < task->nthreads; t++)
			if (task->tids[t] == tid)
				return task;
	return NULL;
}

/* A descriptor of our own of what pid has as fd, or a negative errno. While we have it others
 * do not see it closed. */
static inline int task_fetch(const struct crcore_host *host, struct crcore_ctx *ctx, pid_t pid,
                             int fd)
{
	const struct crcore_task *task = task_find(host, ctx, pid);
	int r = task ? (int)syscall(SYS_pidfd_getfd, task->pidfd, fd, 0) : -1;

	return !task ? -ESRCH : r < 0 ? -errno : r;
}

#endif
