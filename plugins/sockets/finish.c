/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore, last: what waits in the sockets, and then what would keep one from
 * sending it: connections of datagram sockets, shutdowns, options, the closing
 * of peers that were closed.
 */
#include "sockets.h"

#define EXTRA (64 * 1024)

static int fd_of(const struct made *m) { return m->fd >= 0 ? m->fd : m->keep; }

/* A send buffer into which all of that fits; a message costs more than its bytes. */
static int make_room(int fd, const Sockets__Unix *rec, struct crcore_error *err)
{
	uint64_t want = EXTRA + 1024 * (uint64_t)rec->n_queue;
	int r;

	for (size_t i = 0; i < rec->n_queue; i++)
		want += 2 * (uint64_t)rec->queue[i]->length;
	r = net_buffer_room(fd, true, want > INT_MAX ? INT_MAX : (uint32_t)want);
	return r < 0 ?
	       crcore_fail(err, r, "cannot make room for what waits in it: %s", strerror(-r)) : 0;
}

/* By the peer. */
static int fill_connected(struct sockets *s, struct made *m, struct crcore_error *err)
{
	int fd = m->peer ? fd_of(m->peer) : m->other, r;
	off_t at = (off_t)m->rec->blob;

	if (!m->rec->n_queue)
		return 0;
	if (fd < 0)
		return crcore_fail(err, -EBADMSG, "something waits in it, but it has no peer");
	r = make_room(fd, m->rec, err);
	for (unsigned i = 0; !r && i < m->rec->n_queue; i++) {
		r = queue_send(s, m, i, fd, NULL, at, err);
		at += m->rec->queue[i]->length;
	}
	return r;
}

/* -- datagrams, by any sender ------------------------------------------------------------ */

static struct made *find_sender(const struct sockets *s, const ProtobufCBinaryData *name)
{
	for (unsigned i = 0; name->len && i < s->nmade; i++) {
		const Sockets__Unix *rec = s->made[i]->rec;
		if (rec->type == SOCK_DGRAM && rec->name.len == name->len &&
		    !memcmp(rec->name.data, name->data, name->len))
			return s->made[i];
	}
	return NULL;
}

/* The sender is not in the tree: one of our own, by its name if that is free. */
static int stand_in(struct sockets *s, const Sockets__Message *msg, struct crcore_error *err)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	socklen_t len;

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (!msg->from.len)
		return fd;
	len = name_address((char *)msg->from.data, msg->from.len, &addr);
	if (msg->from.data[0] && msg->from.data[0] != '/')
		errno = ENOTSUP;
	else if (bind(fd, (struct sockaddr *)&addr, len) == 0)
		return fd;
	s->host->log(s->ctx, 1, "a message waits whose sender %.*s is not in the tree: it comes "
	             "without that name (%s)", (int)msg->from.len - !msg->from.data[0],
	             (char *)msg->from.data + !msg->from.data[0], strerror(errno));
	return fd;
}

static int send_datagram(struct sockets *s, struct made *m, unsigned i, off_t at,
                         struct crcore_error *err)
{
	const Sockets__Message *msg = m->rec->queue[i];
	const struct made *sender = find_sender(s, &msg->from);
	struct name to = { .len = (uint8_t)m->rec->name.len };
	cleanup_close int own = sender ? -1 : stand_in(s, msg, err);
	int fd = sender ? fd_of(sender) : own, r;

	if (fd < 0)
		return err->code ? err->code : -EBADF;
	memcpy(to.at, m->rec->name.data, to.len);
	if (to.at[0] && to.at[0] != '/' && strlen(m->path) < NAME_MAX_LEN) { /* by its whole path */
		to.len = (uint8_t)strlen(m->path);
		memcpy(to.at, m->path, to.len);
	}
	r = make_room(fd, m->rec, err);
	if (!r)
		r = queue_send(s, m, i, fd, &to, at, err);
	if (own >= 0 && msg->from.len && msg->from.data[0] == '/') {
		struct sockaddr_un addr = { 0 };
		socklen_t len = sizeof(addr);
		char path[sizeof(addr.sun_path) + 1] = ""; /* the longest has no end in an address */
		if (getsockname(own, (struct sockaddr *)&addr, &len) == 0 && len > sizeof(sa_family_t))
			unlink(memcpy(path, addr.sun_path, sizeof(addr.sun_path)));
	}
	return r;
}

static int fill_datagrams(struct sockets *s, struct made *m, struct crcore_error *err)
{
	off_t at = (off_t)m->rec->blob;
	int r = 0;

	for (unsigned i = 0; !r && i < m->rec->n_queue; i++) {
		r = send_datagram(s, m, i, at, err);
		at += m->rec->queue[i]->length;
	}
	return r;
}

/* -- the end --------------------------------------------------------------------------------- */

/* The peer is closed; if something was unread there, that is reported as a reset. */
static int close_peer(struct made *m, struct crcore_error *err)
{
	if (m->other < 0)
		return 0;
	if (m->rec->reset && stream_like(m->rec->type) &&
	    send(fd_of(m), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return crcore_fail(err, -errno, "cannot have its connection reset: %s", strerror(errno));
	close_fd(&m->other);
	return 0;
}

static int set_owner(int fd, const Sockets__Unix *rec, struct crcore_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 ||
	    ((st.st_uid != rec->uid || st.st_gid != rec->gid) && fchown(fd, rec->uid, rec->gid) < 0) ||
	    (st.st_mode != rec->mode && fchmod(fd, rec->mode & 07777) < 0))
		return crcore_fail(err, -errno, "cannot give it its owner: %s", strerror(errno));
	return 0;
}

static int finish(struct made *m, struct crcore_error *err)
{
	static const int how[] = { 0, SHUT_RD, SHUT_WR, SHUT_RDWR };
	const Sockets__Unix *rec = m->rec;
	int fd = fd_of(m), r = close_peer(m, err);
	bool connected = rec->state != SOCKETS__STATE__RECONNECT &&
	                 rec->state != SOCKETS__STATE__INHERIT;

	if (!r && rec->shutdown && connected && shutdown(fd, how[rec->shutdown]) < 0)
		r = crcore_fail(err, -errno, "cannot shut it down: %s", strerror(errno));
	if (!r)
		r = name_settle(m, err);
	if (!r)
		r = options_set(fd, rec, err);
	if (!r && rec->state != SOCKETS__STATE__INHERIT)
		r = set_owner(fd, rec, err);
	if (!r && fcntl(fd, F_SETFL, (int)rec->flags & O_NONBLOCK) < 0)
		r = crcore_fail(err, -errno, "cannot set its flags: %s", strerror(errno));
	return r;
}

static int finish_datagrams(struct sockets *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < s->nmade; i++) {
		struct made *m = s->made[i];
		if (m->rec->type == SOCK_DGRAM && !m->paired && m->rec->name.len && m->rec->n_queue) {
			r = fill_datagrams(s, m, err);
			if (r < 0)
				crcore_fail_at(err, -1, -1, "socket %u", m->rec->id);
		}
	}
	return r ? r : connect_datagrams(s, err);
}

int finish_all(struct sockets *s, struct crcore_error *err)
{
	int r = finish_datagrams(s, err);

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; !r && i < s->nmade; i++) {
			struct made *m = s->made[i];
			bool own = m->paired || stream_like(m->rec->type);
			r = pass ? finish(m, err) : own ? fill_connected(s, m, err) : 0;
			if (r < 0)
				crcore_fail_at(err, -1, -1, "socket %u", m->rec->id);
		}
	return r;
}
