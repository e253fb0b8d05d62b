/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits to be received. Dump: SO_PEEK_OFF lets one peek behind what was
 * peeked before; the socket's own offset is put back. Restore: the messages are
 * sent again, with the credentials that they came with if the receiver wants
 * to see those.
 */
#include "sockets.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#define OUT (512 * 1024)

static bool same_source(const Sockets__Message *a, const Sockets__Message *b)
{
	return !a->n_objects && !b->n_objects && a->has_cred == b->has_cred && a->pid == b->pid &&
	       a->uid == b->uid && a->gid == b->gid;
}

static int keep_message(struct reader *q, const Sockets__Message *m, const struct sockaddr_un *from)
{
	Sockets__Unix *rec = q->rec;
	Sockets__Message *last = rec->n_queue ? rec->queue[rec->n_queue - 1] : NULL, *copy;
	void *grown;

	if (last && rec->type == SOCK_STREAM && same_source(last, m) && last->length < 1u << 30) {
		last->length += m->length;
		return 0;
	}
	if (rec->n_queue == q->allocated) {
		q->allocated = q->allocated ? 2 * q->allocated : 16;
		grown = realloc(rec->queue, q->allocated * sizeof(*rec->queue));
		if (!grown)
			return -ENOMEM;
		rec->queue = grown;
	}
	copy = malloc(sizeof(*copy) + m->n_objects * sizeof(*m->objects) + m->from.len);
	if (!copy)
		return -ENOMEM;
	*copy = *m;
	copy->objects = (uint32_t *)(copy + 1);
	if (m->n_objects)
		memcpy(copy->objects, m->objects, m->n_objects * sizeof(*m->objects));
	copy->from.data = (uint8_t *)(copy->objects + m->n_objects);
	memcpy(copy->from.data, from->sun_path, m->from.len);
	rec->queue[rec->n_queue++] = copy;
	return 0;
}

int queue_flush(struct sockets *s, struct crcore_error *err)
{
	int blob = s->nout ? s->host->blob(s->ctx, "unix", err) : -1, r;

	if (!s->nout)
		return 0;
	if (blob < 0)
		return blob;
	r = write_all(blob, s->out, s->nout);
	s->nout = 0;
	return r < 0 ? crcore_fail(err, r, "cannot write what waits in sockets: %s", strerror(-r)) : 0;
}

/* Messages are small, and many: they are written together. */
static int put_bytes(struct sockets *s, size_t len, struct crcore_error *err)
{
	int r, blob;

	if (!s->out && !(s->out = malloc(OUT)))
		return crcore_no_memory(err);
	if (s->nout + len > OUT && (r = queue_flush(s, err)) < 0)
		return r;
	s->blob_end += len;
	if (len <= OUT) {
		memcpy(s->out + s->nout, s->buf, len);
		s->nout += len;
		return 0;
	}
	blob = s->host->blob(s->ctx, "unix", err);
	r = blob < 0 ? blob : write_all(blob, s->buf, len);
	return r < 0 ? crcore_fail(err, r, "cannot write what waits in it: %s", strerror(-r)) : 0;
}

/*
 * Past the last message a read would report, and take, a pending error; of a
 * stream, or where one is pending, there is no look past the last byte.
 */
static bool more(const struct reader *q)
{
	bool exact = q->rec->type == SOCK_STREAM || (q->rec->type == SOCK_SEQPACKET && q->rec->reset);

	return !exact || q->seen < (uint64_t)q->all;
}

static int read_one(struct reader *q, struct crcore_error *err)
{
	Sockets__Message m = SOCKETS__MESSAGE__INIT;
	struct sockaddr_un from;
	int r = peek_next(q, &m, &from);

	m.n_objects = q->nfds;
	peek_drop(q);
	if (r <= 0)
		return r;
	m.objects = (uint32_t *)(uintptr_t)flight_take(q->s, q->ino, (unsigned)m.n_objects);
	if (m.n_objects && !m.objects)
		return -EAGAIN;
	if (q->rec->type == SOCK_STREAM)
		m.from.len = 0;
	q->seen += m.length;
	q->empty += !m.length;
	if (q->seen > INT_MAX)
		return -EFBIG;
	r = keep_message(q, &m, &from);
	if (!r)
		r = put_bytes(q->s, m.length, err);
	return r ? r : 1;
}

/* Undo entry: we were killed in the midst of a look. */
static void put_offset_back(void *arg)
{
	struct sockets *s = arg;

	if (s->moved >= 0)
		peek_offset(s->moved, s->moved_offset);
	close_fd(&s->moved);
}

int queue_begin(struct reader *q, struct crcore_error *err)
{
	int r = q->s->undo ? 0 : q->s->host->undo(q->s->ctx, put_offset_back, q->s, false, err);

	if (r < 0)
		return r;
	q->s->undo = true;
	q->s->moved_offset = q->rec->peek_offset;
	q->s->moved = fcntl(q->fd, F_DUPFD_CLOEXEC, 0);
	return q->s->moved < 0 ? -errno : peek_offset(q->fd, (int)q->seen);
}

int queue_end(struct reader *q)
{
	int r = peek_offset(q->fd, q->rec->peek_offset);

	close_fd(&q->s->moved);
	return r;
}

/* Most streams can be seen as a whole at once; the others message by message. */
static int read_all(struct reader *q, struct crcore_error *err)
{
	bool whole = q->rec->type == SOCK_STREAM && q->rec->peek_offset < 0 && q->all <= QUEUE_ROOM &&
	             !q->flying;
	int r = 1, back;

	if (whole && more(q))
		r = read_one(q, err);
	if (r <= 0 || (whole && !more(q)))
		return r < 0 ? r : 0;
	r = queue_begin(q, err);
	if (r < 0)
		return r;
	r = 1;
	while (r > 0 && more(q))
		r = read_one(q, err);
	back = queue_end(q);
	return r < 0 ? r : back;
}

int queue_save(struct sockets *s, const struct crcore_object *obj, Sockets__Unix *rec,
               struct crcore_error *err)
{
	int fd = obj->local_fd;
	struct reader q = { .s = s, .rec = rec, .fd = fd, .ino = (uint32_t)obj->st.st_ino,
		.flying = flight_count(obj) > 0 };
	socklen_t len = sizeof(rec->peek_offset);
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &rec->peek_offset, &len) < 0 ||
	    ioctl(fd, SIOCINQ, &q.all) < 0)
		return crcore_fail(err, -errno, "cannot ask how much waits in it: %s", strerror(errno));
	r = peek_room(s, QUEUE_ROOM);
	rec->blob = s->blob_end;
	if (!r)
		r = read_all(&q, err);
	if (q.empty) /* the kernel's doing: it remembers that they were peeked */
		s->host->log(s->ctx, 1, "empty messages wait in a socket: if it is left running, a later "
		             "dump will not see them");
	return r < 0 ? crcore_fail(err, r, "cannot copy what waits in it: %s", strerror(-r)) : 0;
}

void queue_free(Sockets__Unix *rec)
{
	for (size_t i = 0; i < rec->n_queue; i++)
		free(rec->queue[i]);
	free(rec->queue);
	rec->queue = NULL;
	rec->n_queue = 0;
}

/* -- restore ------------------------------------------------------------------------- */

struct parcel { /* what goes with the bytes */
	struct ucred cred;
	bool has_cred;
	int fds[MAX_FDS];
	unsigned nfds;
};

static void put_control(struct msghdr *h, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)h->msg_control + h->msg_controllen);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	h->msg_controllen += CMSG_SPACE(len);
}

static ssize_t send_one(int fd, const void *buf, size_t len, const struct name *to,
                        const struct parcel *with)
{
	char control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(with->fds))]
		__attribute__((aligned(8))) = { 0 };
	struct iovec io = { (void *)(uintptr_t)buf, len };
	struct sockaddr_un addr;
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control };
	ssize_t n;

	if (to) {
		h.msg_name = &addr;
		h.msg_namelen = name_address(to->at, to->len, &addr);
	}
	if (with->has_cred)
		put_control(&h, SCM_CREDENTIALS, &with->cred, sizeof(with->cred));
	if (with->nfds)
		put_control(&h, SCM_RIGHTS, with->fds, with->nfds * sizeof(int));
	n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static ssize_t send_as(struct sockets *s, int fd, const void *buf, size_t len,
                       const struct name *to, struct parcel *with)
{
	ssize_t n = send_one(fd, buf, len, to, with);

	if (n != -ESRCH && !(n == -EPERM && with->has_cred))
		return n;
	s->lost_creds++; /* the sender is gone: nobody can speak in its name */
	with->cred.pid = getpid();
	return send_one(fd, buf, len, to, with);
}

static int pack(struct sockets *s, const Sockets__Message *m, struct parcel *ret,
                struct crcore_error *err)
{
	ret->has_cred = m->has_cred;
	ret->cred = (struct ucred){ (pid_t)m->pid, m->uid, m->gid };
	for (ret->nfds = 0; ret->nfds < m->n_objects; ret->nfds++) {
		int fd = s->host->need(s->ctx, m->objects[ret->nfds], err);
		if (fd < 0)
			return fd;
		ret->fds[ret->nfds] = fd;
	}
	return 0;
}

int queue_send(struct sockets *s, const struct made *m, unsigned i, int fd, const struct name *to,
               off_t at, struct crcore_error *err)
{
	const Sockets__Message *msg = m->rec->queue[i];
	bool stream = m->rec->type == SOCK_STREAM;
	size_t left = msg->length, room = stream && left > QUEUE_ROOM ? QUEUE_ROOM : left;
	cleanup_free char *buf = malloc(room ? room : 1);
	int blob = s->host->blob(s->ctx, "unix", err), r;
	struct parcel with;

	if (blob < 0)
		return blob;
	if (!buf)
		return crcore_no_memory(err);
	r = pack(s, msg, &with, err);
	if (r < 0)
		return r;
	do {
		size_t want = left < room ? left : room;
		ssize_t n = want ? pread(blob, buf, want, at) : 0;
		if (n != (ssize_t)want)
			return crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
		n = send_as(s, fd, buf, want, to, &with);
		if (n == -EAGAIN)
			crcore_advise(err, "raise /proc/sys/net/unix/max_dgram_qlen and net/core/wmem_max");
		if (n < 0)
			return crcore_fail(err, (int)n, "cannot send again what waited in it: %s",
			                   strerror((int)-n));
		with.nfds = 0;
		left -= (size_t)n;
		at += n;
	} while (left);
	return 0;
}
