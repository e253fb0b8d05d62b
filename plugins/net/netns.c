/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces, by the cookies that the kernel gives them. See netns.h. */
#include "plugins/net/netns.h"
#include "plugins/util.h"

#include <errno.h>
#include <sys/socket.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* A number that no other namespace has, as long as the machine runs. 0: cannot be told. */
static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

uint64_t netns_own(void)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? 0 : netns_of(fd);
}

int netns_check(int fd, uint64_t *own, struct crcore_error *err)
{
	if (!*own)
		*own = netns_own();
	if (netns_of(fd) == *own)
		return 0;
	crcore_advise(err, "close it before the dump");
	return crcore_fail(err, -ENOTSUP, "it is in another network namespace than its task");
}
