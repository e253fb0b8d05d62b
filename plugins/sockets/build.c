/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: all sockets are made at once when the first is asked for, since
 * they are made of each other, and handed out one by one. What waits in them
 * follows at once too, unless it carries credentials: those need the tasks
 * whose they are, so then everything of finish.c is left until settle.
 */
#include "sockets.h"

int made_socket(struct made *m, struct crcore_error *err)
{
	m->fd = socket(AF_UNIX, (int)m->rec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->fd < 0)
		return crcore_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	m->exists = true;
	return name_bind(m, m->fd, err);
}

/* Sockets that need no other one: whom datagrams can be sent to, bound ones. */
static int make_single(struct sockets *s, struct made *m, struct crcore_error *err)
{
	bool named = m->rec->name.len, datagram = m->rec->type == SOCK_DGRAM;

	if (m->rec->state == SOCKETS__STATE__INHERIT)
		return inherit_take(m, err);
	if (m->rec->state == SOCKETS__STATE__UNCONNECTED || m->rec->state == SOCKETS__STATE__RECONNECT)
		return made_socket(m, err);
	if (!datagram)
		return 0;
	if (m->rec->state == SOCKETS__STATE__GONE)
		return named ? made_socket(m, err) : 0;
	/* Of two that send to each other one without a name can only be of socketpair. */
	if (m->peer && m->peer->peer == m && m != m->peer && (!named || !m->peer->rec->name.len))
		return 0;
	return made_socket(m, err);
}

static int build(struct sockets *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < s->nmade; i++) {
		r = make_single(s, s->made[i], err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "socket %u", s->made[i]->rec->id);
	}
	if (!r)
		r = connect_all(s, err);
	if (!r && !s->late)
		r = finish_all(s, err);
	return r;
}

int sockets_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct sockets *s = state;
	struct made *m = sockets_made(s, id);
	int fd, r;

	if (!m)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
	if (!s->built) {
		uint32_t uid = geteuid(), gid = getegid();
		s->built = true;
		r = build(s, err);
		become(uid, gid);
		if (r < 0)
			return r;
	}
	if (m->fd < 0)
		return crcore_fail(err, -EBADMSG, "object %u is wanted twice", id);
	if (s->late) {
		m->keep = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
		if (m->keep < 0)
			return crcore_fail(err, -errno, "cannot keep a socket: %s", strerror(errno));
	}
	fd = m->fd;
	m->fd = -1;
	return fd;
}

int sockets_settle(void *state, struct crcore_error *err)
{
	struct sockets *s = state;
	int r = s->late && s->built ? finish_all(s, err) : 0;

	for (unsigned i = 0; i < s->nmade; i++) {
		close_fd(&s->made[i]->keep);
		close_fd(&s->made[i]->fd);
	}
	if (s->lost_creds)
		s->host->log(s->ctx, 1, "%u messages wait whose senders are gone: they come with the pid "
		             "of crcore", s->lost_creds);
	return r;
}

int sockets_release(void *state, struct crcore_error *err)
{
	struct sockets *s = state;

	s->done = true;
	return 0;
}
