/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include "core/restore/uffd.h"

int uffd_fetch(const struct stub *s, uint32_t op, int *ret_pidfd, struct crcore_error *err)
{
	/* Whoever made it may not have told of it yet. */
	const pid_t pid = s->r->births.v[s->birth].pid;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int uffd = pidfd < 0 ? -1 :
		(int)syscall(SYS_pidfd_getfd, pidfd, (int)prog_result(s->p, op), 0);

	if (uffd < 0)
		return crcore_fail(err, -errno, "task %d cannot give its descriptor: %s", pid,
		                   strerror(errno));
	if (ret_pidfd)
		*ret_pidfd = STEAL_FD(pidfd);
	return uffd;
}

bool uffd_add_range(struct layout_range **v, unsigned *n, uint64_t start, uint64_t end)
{
	struct layout_range *last = *n ? &(*v)[*n - 1] : NULL;

	if (last && last->end >= start) {
		last->end = end > last->end ? end : last->end;
		return true;
	}
	if (!GROW(*v, *n))
		return false;
	(*v)[(*n)++] = (struct layout_range){ start, end };
	return true;
}

static int cannot_watch(int uffd, const struct layout_range *v, unsigned at, int error,
                        struct crcore_error *err)
{
	/* that one, too: its beginning may be watched */
	for (unsigned i = 0; i <= at; i++) {
		struct uffdio_range q = { v[i].start, v[i].end - v[i].start };
		ioctl(uffd, UFFDIO_UNREGISTER, &q);
	}
	return crcore_fail(err, -error, "memory at %#llx cannot be loaded on demand: %s",
	                   (unsigned long long)v[at].start, strerror(error));
}

int uffd_watch(int uffd, const struct layout_range *v, unsigned n, struct crcore_error *err)
{
	for (unsigned i = 0; i < n; i++) {
		struct uffdio_register q = {
			.range = { v[i].start, v[i].end - v[i].start },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};
		if (ioctl(uffd, UFFDIO_REGISTER, &q) < 0)
			return cannot_watch(uffd, v, i, errno, err);
	}
	return 0;
}
