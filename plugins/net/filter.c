/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and attaching socket filters. See filter.h. */
#include "plugins/net/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(sizeof(struct sock_filter) == sizeof(uint64_t), "an instruction is a number");

/* Instructions, or a negative errno: -EACCES for a program that is not told. */
static int length(int fd)
{
	socklen_t len = 0;

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) < 0 ? -errno : (int)len;
}

int net_filter_check(int fd, struct crcore_error *err)
{
	if (length(fd) != -EACCES)
		return 0;
	crcore_advise(err, "detach it (SO_DETACH_BPF) before the dump");
	return crcore_fail(err, -ENOTSUP, "an eBPF program is attached to it as filter, which the "
	                   "kernel does not give back");
}

int net_filter_read(int fd, uint64_t **ret, size_t *ret_n, bool *ret_locked,
                    struct crcore_error *err)
{
	int n = length(fd), locked = 0, r = n < 0 ? net_filter_check(fd, err) : 0;
	socklen_t len = sizeof(locked), count = n < 0 ? 0 : (socklen_t)n;

	*ret = NULL;
	*ret_n = 0;
	if (r < 0)
		return r;
	*ret_locked = getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &locked, &len) == 0 && locked;
	if (n <= 0)
		return 0;
	*ret = calloc(count, sizeof(**ret));
	if (!*ret)
		return crcore_no_memory(err);
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, *ret, &count) < 0)
		return crcore_fail(err, -errno, "its filter cannot be read: %s", strerror(errno));
	if (count != (socklen_t)n)
		return crcore_fail(err, -EAGAIN, "its filter changes while it is read");
	*ret_n = count;
	return 0;
}

int net_filter_set(int fd, const uint64_t *v, size_t n, bool locked)
{
	struct sock_fprog prog = { (unsigned short)n, (struct sock_filter *)(uintptr_t)v };
	int one = 1;

	if (n > BPF_MAXINSNS)
		return -EINVAL;
	if (n ? setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0
	      : setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof(one)) < 0 && errno != ENOENT)
		return -errno;
	return locked && setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one)) < 0 ? -errno : 0;
}
