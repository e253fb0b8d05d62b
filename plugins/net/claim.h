/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sort of socket an offered object is, for claim hooks. Every plugin for
 * sockets is asked about every socket, so the first one leaves a note for the others.
 */
#ifndef CRCORE_PLUGIN_NET_CLAIM_H
#define CRCORE_PLUGIN_NET_CLAIM_H

#include <crcore/plugin.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

struct net_kind {
	int family; /* 0: no socket at all; negative: cannot be told, and the rest is not known */
	int type, protocol;
};

#define NET_NOTE 0x534fu /* in the upper bits: the note is ours */

static inline int net_ask(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static inline struct net_kind net_kind(const struct crcore_object *obj)
{
	const bool noted = obj->size >= offsetof(struct crcore_object, note) + sizeof(obj->note);
	uint64_t *note = noted ? obj->note : NULL;
	struct net_kind k = { 0 };

	if (obj->class_ != CRCORE_DESCRIPTION || !S_ISSOCK(obj->st.st_mode) || obj->flags & O_PATH)
		return k;
	if (note && *note >> 48 == NET_NOTE)
		return (struct net_kind){ (int16_t)(*note >> 32), (uint16_t)(*note >> 16),
			                      (uint16_t)*note };
	k.family = strstr(obj->fdinfo, "\nscm_fds:") ? AF_UNIX /* only these have such a line */
	                                             : net_ask(obj->local_fd, SO_DOMAIN);
	k.type = net_ask(obj->local_fd, SO_TYPE);
	k.protocol = net_ask(obj->local_fd, SO_PROTOCOL);
	if (note)
		*note = (uint64_t)NET_NOTE << 48 | (uint64_t)(uint16_t)k.family << 32 |
		        (uint64_t)(uint16_t)k.type << 16 | (uint16_t)k.protocol;
	return k;
}

#endif
