/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: one message after the other out of a queue, which stays as it is: by
 * SO_PEEK_OFF one peeks behind what was peeked before. Descriptors that come
 * with a message are duplicates.
 *
 * A look into a stream ends behind the first bytes that carry descriptors, and
 * may begin with bytes before them that carry none. The kernel copies from one
 * buffer after the other and gives up one that it cannot copy as a whole, so a
 * look for whose last byte there is no memory ends before those that carry.
 * The bytes before are a message of their own.
 */
#include "sockets.h"

#define CONTROL 2048
#define SCM_PIDFD_NUMBER 4

int peek_offset(int fd, int offset)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) < 0 ? -errno : 0;
}

void peek_drop(struct reader *q)
{
	for (unsigned i = 0; i < q->nfds; i++)
		close(q->fds[i]);
	q->nfds = 0;
}

int peek_room(struct sockets *s, size_t len)
{
	if (s->room >= len)
		return 0;
	free(s->buf);
	s->buf = malloc(len);
	s->room = s->buf ? len : 0;
	return s->buf ? 0 : -ENOMEM;
}

/* Other descriptors than those of the sender go at once. */
static void take_fds(struct reader *q, const struct cmsghdr *c)
{
	int fd;

	for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(fd)) <= c->cmsg_len; i++) {
		memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
		if (fd < 0)
			continue;
		if (c->cmsg_type == SCM_RIGHTS && q->nfds < MAX_FDS)
			q->fds[q->nfds++] = fd;
		else
			close(fd);
	}
}

static int take_control(struct reader *q, struct msghdr *h, Sockets__Message *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS || c->cmsg_type == SCM_PIDFD_NUMBER)
			take_fds(q, c);
		if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred cred;
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			m->has_cred = true;
			m->pid = (uint32_t)cred.pid;
			m->uid = cred.uid;
			m->gid = cred.gid;
		}
	}
	return h->msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}

/* all: false if there is to be no memory for the last byte. */
static ssize_t look(struct reader *q, size_t len, bool all, Sockets__Message *m,
                    struct sockaddr_un *from)
{
	char control[CONTROL] __attribute__((aligned(8)));
	struct iovec io[2] = { { q->s->buf, all ? len : len - 1 }, { NULL, 1 } };
	struct msghdr h = { .msg_name = from, .msg_namelen = sizeof(*from), .msg_iov = io,
		.msg_iovlen = all ? 1 : 2, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n;
	int r;

	peek_drop(q);
	n = recvmsg(q->fd, &h, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	r = take_control(q, &h, m);
	m->from.len = h.msg_namelen > sizeof(sa_family_t) ? h.msg_namelen - sizeof(sa_family_t) : 0;
	if (m->from.len && from->sun_path[0])
		m->from.len = strnlen(from->sun_path, m->from.len);
	return r < 0 ? r : n;
}

/* Of n bytes of a stream, some carry descriptors: those before, or else these. */
static ssize_t split(struct reader *q, ssize_t n, Sockets__Message *m, struct sockaddr_un *from)
{
	ssize_t r = peek_offset(q->fd, (int)q->seen);

	if (!r)
		r = look(q, (size_t)n, false, m, from);
	if (r > 0)
		return q->nfds ? -EBUSY : r;
	if (r < 0 && r != -EFAULT)
		return r;
	r = peek_offset(q->fd, (int)q->seen);
	return r < 0 ? r : look(q, (size_t)n, true, m, from);
}

int peek_next(struct reader *q, Sockets__Message *m, struct sockaddr_un *from)
{
	bool stream = q->rec->type == SOCK_STREAM;

	for (;;) {
		ssize_t n = look(q, q->s->room, true, m, from);
		int r;
		if (n > 0 && stream && q->nfds)
			n = split(q, n, m, from);
		if (n < 0)
			return n == -EAGAIN || n == -ENOTCONN || n == -EINVAL ? 0 : (int)n;
		if ((size_t)n <= q->s->room) {
			bool eof = !n && (stream || (q->rec->type == SOCK_SEQPACKET && q->rec->shutdown & 1));
			m->length = (uint32_t)n;
			return !eof;
		}
		r = peek_room(q->s, (size_t)n);
		if (!r)
			r = peek_offset(q->fd, (int)q->seen);
		if (r < 0)
			return r;
	}
}
