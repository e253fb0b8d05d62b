/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process for a moment, with a pid that is asked for: what it does for a plugin
 * the kernel notes as done by that pid, and with what credentials it took on.
 * The number is free again afterwards, also for a task of the tree.
 */
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"

#define PATIENCE 10000 /* ms */

static int await(pid_t pid, int pidfd, struct crcore_error *err)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	uint64_t deadline = now_ns() + PATIENCE * 1000000ULL;
	int status = 0, r;

	do
		r = poll(&p, 1, PATIENCE);
	while (r < 0 && errno == EINTR && now_ns() < deadline);
	if (r <= 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return crcore_fail(err, -errno, "cannot wait for a helper: %s", strerror(errno));
	if (r <= 0)
		return crcore_fail(err, -ETIMEDOUT, "a helper did not come to its end");
	if (!WIFEXITED(status))
		return crcore_fail(err, -ECHILD, "a helper was killed by signal %d", WTERMSIG(status));
	return -WEXITSTATUS(status);
}

int run_as(pid_t pid, int (*fn)(void *), void *arg, struct crcore_error *err)
{
	const pid_t maker = getpid();
	int pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_FILES | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd,
		.set_tid = pid ? (uint64_t)(uintptr_t)&pid : 0, .set_tid_size = pid ? 1 : 0,
	};
	long child = syscall(SYS_clone3, &args, sizeof(args));

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int r = getppid() == maker ? fn(arg) : -ECANCELED;
		_exit(r < 0 ? -r & 0xff : 0);
	}
	if (child < 0)
		return crcore_fail(err, -errno, "cannot make a helper with pid %d: %s", pid,
		                   strerror(errno));
	int r = await((pid_t)child, pidfd, err);
	close(pidfd);
	return r;
}
