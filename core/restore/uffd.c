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

int uffd_watch(int uffd, const struct layout_range *v, unsigned n, unsigned *ret_n,
               struct crcore_error *err)
{
	for (*ret_n = 0; *ret_n < n; ++*ret_n) {
		const struct layout_range *range = &v[*ret_n];
		struct uffdio_register q = {
			.range = { range->start, range->end - range->start },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};
		if (ioctl(uffd, UFFDIO_REGISTER, &q) < 0)
			return crcore_fail(err, -errno, "memory at %#llx cannot be loaded on demand: %s",
			                   (unsigned long long)range->start, strerror(errno));
	}
	return 0;
}

void uffd_unwatch(int uffd, const struct layout_range *v, unsigned n)
{
	while (n--) {
		struct uffdio_range q = { v[n].start, v[n].end - v[n].start };
		ioctl(uffd, UFFDIO_UNREGISTER, &q);
	}
}
