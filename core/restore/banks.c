/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Banks: processes that only hold descriptors. The limit of descriptors of one
 * process may be lower than the number of descriptions that a tree has (and
 * without CAP_SYS_RESOURCE nobody can raise it). So when the worker has many it
 * forks: the child keeps those of finished objects, under the numbers they have,
 * and the worker closes them. Tasks fetch from banks as they do from the worker.
 *
 * A bank has nothing but objects: whatever else plugins hold, they close when they
 * must. It ends with the worker, and before the tree runs.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"
#include "core/util/keep.h"

/* Of the worker's descriptors; what is left is for plugins and for us. */
int banks_threshold(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < INT32_MAX ? (int)(l.rlim_cur / 4 * 3)
	                                                                  : INT32_MAX;
}

/* The bank: keeps these numbers and waits to be killed. */
static _Noreturn void hold(int *fds, unsigned n, pid_t worker)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != worker)
		_exit(1);
	keep_only(fds, n);
	for (;;)
		pause();
}

static int open_bank(struct restore *r, int *fds, unsigned n, struct crcore_error *err)
{
	pid_t self = getpid();

	if (r->nbanks == BANKS_MAX) {
		crcore_advise(err, "raise the hard limit of open files (ulimit -Hn) for crcore");
		return crcore_fail(err, -EMFILE, "the tree has more descriptions than crcore and %d banks "
		                   "can hold", BANKS_MAX);
	}
	pid_t pid = fork();
	if (pid == 0)
		hold(fds, n, self);
	int pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		int e = errno;
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		return crcore_fail(err, -e, "cannot make a bank of descriptors: %s", strerror(e));
	}
	r->banks[r->nbanks++] = (struct bank){ pid, pidfd };
	return 0;
}

int banks_deposit(struct restore *r, struct crcore_error *err)
{
	cleanup_free int *fds = calloc(r->nobjects, sizeof(*fds));
	unsigned n = 0;

	if (!fds)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->nobjects; i++)
		if (object_is_made(&r->objects[i]) && !r->objects[i].bank)
			fds[n++] = r->objects[i].fd;
	int ret = n ? open_bank(r, fds, n, err) : 0;
	for (unsigned i = 0; ret == 0 && n && i < r->nobjects; i++)
		if (object_is_made(&r->objects[i]) && !r->objects[i].bank) {
			r->objects[i].bank = r->nbanks;
			close(r->objects[i].fd);
		}
	log_line(2, "%u descriptors are in bank %u now", n, r->nbanks);
	return ret;
}

int banks_withdraw(struct restore *r, struct object_fd *o, struct crcore_error *err)
{
	int fd = (int)syscall(SYS_pidfd_getfd, r->banks[o->bank - 1].pidfd, o->fd, 0);

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot be fetched from its bank: %s", strerror(errno));
	o->fd = fd;
	o->bank = 0;
	return fd;
}

void banks_close(struct restore *r)
{
	for (unsigned i = 0; i < r->nbanks; i++)
		kill(r->banks[i].pid, SIGKILL);
	for (unsigned i = 0; i < r->nbanks; i++) {
		while (waitpid(r->banks[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
		close(r->banks[i].pidfd);
	}
	r->nbanks = 0;
}
