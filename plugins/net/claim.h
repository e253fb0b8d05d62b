/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which address family an offered object is of, for claim hooks: every plugin
 * for sockets is asked about every socket, so the answer must be cheap.
 */
#ifndef CRCORE_PLUGIN_NET_CLAIM_H
#define CRCORE_PLUGIN_NET_CLAIM_H

#include <crcore/plugin.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* The family; 0: no socket at all; negative: cannot be told. */
static inline int net_family(const struct crcore_object *obj)
{
	int family = 0;
	socklen_t len = sizeof(family);

	if (obj->class_ != CRCORE_DESCRIPTION || !S_ISSOCK(obj->st.st_mode) || obj->flags & O_PATH)
		return 0;
	if (strstr(obj->fdinfo, "\nscm_fds:")) /* only these have such a line */
		return AF_UNIX;
	return getsockopt(obj->local_fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ? -1 : family;
}
#endif
