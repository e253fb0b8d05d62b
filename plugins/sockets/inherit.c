/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: a socket whose peer was outside the tree is replaced by one that
 * whoever starts crcore hands over, as a descriptor of crcore: option
 * inherit-fd, "fd[7]:/run/app.sock", by the name of the peer or, if that had
 * none, by what the socket was called in its task ("socket:[1234]").
 */
#include "sockets.h"

#include <stdio.h>

static bool is_it(const struct made *m, const char *resource)
{
	struct name peer = { .len = (uint8_t)m->rec->peer_name.len };
	char text[2 * sizeof(struct name)];

	memcpy(peer.at, m->rec->peer_name.data, peer.len);
	return !strcmp(resource, m->rec->label) ||
	       (peer.len && !strcmp(resource, name_text(&peer, text)));
}

/* The descriptor of crcore, -1: none. */
static int find(const struct made *m)
{
	const struct crcore_value *all = m->s->host->option(m->s->ctx, "inherit-fd");

	for (const char *const *p = all ? all->list : NULL; p && *p; p++) {
		int fd = -1, len = 0;
		if (sscanf(*p, "fd[%d]:%n", &fd, &len) == 1 && len && is_it(m, *p + len))
			return fd;
	}
	return -1;
}

static int value_of(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

int inherit_check(const struct made *m, struct crcore_error *err)
{
	int fd = find(m);

	if (m->rec->state != SOCKETS__STATE__INHERIT)
		return 0;
	crcore_fail_at(err, -1, -1, "%s", m->rec->label);
	if (fd < 0) {
		crcore_advise(err, "open a socket for crcore as descriptor 7, say, and set --set "
		              "'sockets.inherit-fd+=fd[7]:%s'", m->rec->label);
		return crcore_fail(err, -ENOENT, "it is to be handed over (external-unix: inherit), and is "
		                   "not");
	}
	if (value_of(fd, SO_DOMAIN) != AF_UNIX || value_of(fd, SO_TYPE) != (int)m->rec->type)
		return crcore_fail(err, -EINVAL, "inherit-fd: descriptor %d of crcore is no UNIX socket of "
		                   "the same type", fd);
	if (err)
		err->object[0] = '\0';
	return 0;
}

int inherit_take(struct made *m, struct crcore_error *err)
{
	m->fd = fcntl(find(m), F_DUPFD_CLOEXEC, 0);
	m->exists = true;
	return m->fd < 0 ?
	       crcore_fail(err, -errno, "the descriptor that was to be handed over is gone") : 0;
}
