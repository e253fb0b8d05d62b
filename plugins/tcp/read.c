/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: sequence numbers and queues of connections. The tasks stand still, the
 * kernel does not: it may still deliver, acknowledge and send again what is
 * under way between two sockets of the tree. So first all send queues are read,
 * then all receive queues: what one has received, the other still has or had
 * to send, and the restore compares the numbers of both ends.
 *
 * What a reader could break: nothing may be done to a socket in repair mode
 * that can wait.
 */
#include "plugins/tcp/tcp.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define SLACK (128 * 1024) /* a first segment that is acknowledged in part */
#define TRIES 100

struct room {
	char *at;
	size_t len;
};

static int fail(const struct known *k, int r, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, k->obj->pid, k->obj->fd, "%s", k->obj->link);
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

static int make_room(struct room *room, size_t len)
{
	if (len <= room->len)
		return 0;
	free(room->at);
	room->len = len < 65536 ? 65536 : len;
	room->at = malloc(room->len);
	if (room->at)
		return 0;
	room->len = 0;
	return -ENOMEM;
}

/* -- repair mode ------------------------------------------------------------------- */

static int enter_repair(struct tcp *t, const struct known *k, int fd)
{
	int reuse = ahead_value(k, SOL_SOCKET, SO_REUSEADDR, 0);

	meanwhile_of(t, k, fd);
	if (reuse) /* repair mode clears it */
		meanwhile_note(t, SOL_SOCKET, SO_REUSEADDR, reuse);
	return meanwhile_set(t, IPPROTO_TCP, T_REPAIR, REPAIR_ON, REPAIR_OFF_SILENT);
}

static int sequence(int fd, int queue, uint32_t *ret)
{
	socklen_t len = sizeof(*ret);
	int r = set_queue(fd, queue);

	return r < 0 ? r : getsockopt(fd, IPPROTO_TCP, T_QUEUE_SEQ, ret, &len) < 0 ? -errno : 0;
}

/* -- the send queue ------------------------------------------------------------------ */

/* In repair mode: the number behind the last byte, and the bytes. */
static ssize_t peek_sent(int fd, struct room *room, Tcp__Stream *st)
{
	int r = sequence(fd, QUEUE_SEND, &st->send_next);
	int mss = r < 0 ? r : get_int(fd, IPPROTO_TCP, T_MAXSEG);
	ssize_t n = 0;

	if (mss < 0)
		return mss;
	st->mss = (uint32_t)mss;
	if (room->len) {
		n = recv(fd, room->at, room->len, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0)
			n = errno == EAGAIN ? 0 : -errno;
	}
	r = set_queue(fd, QUEUE_NONE);
	return r < 0 ? r : n;
}

static void note_options(const struct tcp_info *info, Tcp__Stream *st)
{
	st->timestamps = info->tcpi_options & TCPI_OPT_TIMESTAMPS;
	st->sack = info->tcpi_options & TCPI_OPT_SACK;
	st->scaling = info->tcpi_options & TCPI_OPT_WSCALE;
	st->ecn = info->tcpi_options & TCPI_OPT_ECN;
	st->send_scale = info->tcpi_snd_wscale;
	st->receive_scale = info->tcpi_rcv_wscale;
}

static bool fin_sent_in(uint8_t s)
{
	return s == ST_FIN_WAIT1 || s == ST_FIN_WAIT2 || s == ST_CLOSING || s == ST_LAST_ACK;
}

static bool fin_received_in(uint8_t s)
{
	return s == ST_CLOSE_WAIT || s == ST_CLOSING || s == ST_LAST_ACK;
}

static int get_info(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return getsockopt(fd, IPPROTO_TCP, T_INFO, ret, &len) < 0 ? -errno : 0;
}

static int read_sent(struct tcp *t, struct known *k, int fd, int blob, struct crcore_error *err)
{
	Tcp__Stream *st = &k->stream;
	cleanup_free char *own = NULL;
	struct tcp_info info;
	struct room room = { 0 };
	int queued = 0, unsent = 0, r = get_info(fd, &info);
	ssize_t n = 0;
	uint32_t fin;

	if (r < 0 || ioctl(fd, SIOCOUTQ, &queued) < 0 || ioctl(fd, SIOCOUTQNSD, &unsent) < 0)
		return fail(k, r < 0 ? r : -errno, "cannot be asked how much it has to send", err);
	if (queued && make_room(&room, (size_t)queued + SLACK) < 0)
		return crcore_fail(err, -ENOMEM, "out of memory");
	own = room.at;
	st->fin_sent = fin_sent_in(info.tcpi_state);
	note_options(&info, st);
	r = enter_repair(t, k, fd);
	if (!r)
		n = peek_sent(fd, &room, st);
	meanwhile_back(t);
	if (r < 0 || n < 0)
		return fail(k, r < 0 ? r : (int)n, "its send queue cannot be read", err);
	/* The FIN has a number and no byte; it is the last to be acknowledged. */
	st->fin_acked = info.tcpi_state == ST_FIN_WAIT2;
	fin = st->fin_sent;
	st->send_next -= fin;
	queued -= queued ? (int)fin : 0;
	unsent -= unsent ? (int)fin : 0;
	if (n < queued) /* acknowledged meanwhile */
		queued = (int)n;
	if (unsent > queued)
		unsent = queued;
	k->queues.sent = (uint32_t)(queued - unsent);
	k->queues.unsent = (uint32_t)unsent;
	k->queues.blob = t->blob_end;
	t->blob_end += (uint64_t)queued;
	r = write_all(blob, room.at + n - queued, (size_t)queued);
	return r < 0 ? fail(k, r, "what it has to send cannot be written to the image", err) : 0;
}

/* -- the receive queue ----------------------------------------------------------------- */

static int read_numbers(struct tcp *t, struct known *k, int fd)
{
	Tcp__Stream *st = &k->stream;
	struct tcp_window w = { 0 };
	socklen_t len = sizeof(w);
	int r = enter_repair(t, k, fd);

	if (!r)
		r = sequence(fd, QUEUE_RECEIVE, &st->receive_next);
	if (!r && getsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, &w, &len) < 0)
		r = -errno;
	set_queue(fd, QUEUE_NONE);
	meanwhile_back(t);
	st->window_seq = w.wl1;
	st->send_window = w.send;
	st->max_window = w.max;
	st->receive_window = w.receive;
	st->window_sent = w.wup;
	return r;
}

/* What waits to be read: all of it, and how much of it before the mark of urgent data. */
struct waiting { int all, mark; };

/* Numbers that belong together, although segments may still arrive. */
static int read_steady(struct tcp *t, struct known *k, int fd, uint8_t *ret_state, struct waiting *ret)
{
	struct tcp_info before, after;

	for (int i = 0; i < TRIES; i++) {
		int r = get_info(fd, &before), now = 0;
		if (!r)
			r = urgent_count(t, k, fd, &ret->all, &ret->mark);
		if (!r)
			r = read_numbers(t, k, fd);
		if (!r && ioctl(fd, SIOCINQ, &now) < 0)
			r = -errno;
		if (!r)
			r = get_info(fd, &after);
		if (r < 0)
			return r;
		*ret_state = after.tcpi_state;
		if ((now == ret->all || now == ret->mark) &&
		    before.tcpi_bytes_received == after.tcpi_bytes_received &&
		    before.tcpi_state == after.tcpi_state)
			return 0;
	}
	return -EBUSY;
}

/* len bytes of what was received, from its beginning. */
static int copy_received(int fd, size_t len, int blob)
{
	cleanup_free char *buf = malloc(len);
	ssize_t n = buf ? recv(fd, buf, len, MSG_PEEK | MSG_DONTWAIT) : -1;

	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	return write_all(blob, buf, len);
}

/* The same, where some of it is urgent. */
static int copy_urgent(struct tcp *t, const struct known *k, int fd, size_t len, int blob)
{
	cleanup_free char *buf = malloc(len);
	int r = buf ? 0 : -ENOMEM;

	for (size_t have = 0; !r && have < len;) {
		ssize_t n = urgent_peek(t, k, fd, buf, len - have, have);
		r = n < 0 ? (int)n : n == 0 ? -EIO : write_all(blob, buf, (size_t)n);
		have += n > 0 ? (size_t)n : 0;
	}
	return r;
}

/* As above, though the socket has an own idea of where a peek begins. */
static int copy_from_start(struct tcp *t, const struct known *k, int fd, size_t len, int blob)
{
	int offset = ahead_value(k, SOL_SOCKET, SO_PEEK_OFF, -1), r = 0;

	if (!len)
		return 0;
	meanwhile_of(t, k, fd);
	if (offset >= 0)
		r = meanwhile_set(t, SOL_SOCKET, SO_PEEK_OFF, 0, offset);
	if (!r)
		r = copy_received(fd, len, blob);
	meanwhile_back(t);
	return r;
}

static int copy_waiting(struct tcp *t, struct known *k, int fd, const struct waiting *w, int blob)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	k->queues.received = (uint32_t)w->all;
	if (w->mark == w->all)
		return copy_from_start(t, k, fd, (size_t)w->all, blob);
	k->queues.urgent = (uint32_t)w->mark + 1;
	k->queues.urgent_read = poll(&p, 1, 0) >= 0 && !(p.revents & POLLPRI);
	return copy_urgent(t, k, fd, (size_t)w->all, blob);
}

static int read_received(struct tcp *t, struct known *k, int fd, int blob, struct crcore_error *err)
{
	bool connected = state_connected(k->state) && k->verdict == KEEP;
	Tcp__Stream *st = &k->stream;
	uint8_t state = k->state;
	struct waiting w = { 0 };
	int r;

	if (connected)
		r = read_steady(t, k, fd, &state, &w);
	else
		r = urgent_count(t, k, fd, &w.all, &w.mark);
	if (r < 0)
		return fail(k, r, "its numbers cannot be read", err);
	if (connected && fin_received_in(state)) {
		st->fin_received = true;
		st->receive_next--;
		st->first_to_close = state == ST_CLOSING;
	}
	if (connected && state == ST_CLOSE) /* its end has come just now */
		k->state = state;
	r = copy_waiting(t, k, fd, &w, blob);
	k->queues.receive_blob = t->blob_end;
	t->blob_end += (uint64_t)w.all;
	k->read = true;
	return r < 0 ? fail(k, r, "what it has received cannot be read", err) : 0;
}

static int each(struct tcp *t, int blob,
                int (*fn)(struct tcp *, struct known *, int fd, int blob, struct crcore_error *),
                bool closed_too, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < t->nknown; i++) {
		struct known *k = &t->known[i];
		bool kept = state_connected(k->state) && k->verdict == KEEP;
		bool closed = (k->state == ST_CLOSE && k->hung_up) ||
		              (state_connected(k->state) && k->verdict == CLOSE);
		if (!k->obj || k->unaccepted || (!kept && !(closed && closed_too)))
			continue;
		cleanup_close int fd = known_open(t, k, err);
		r = fd < 0 ? fd : ahead_need(t, k, fd, err);
		if (!r)
			r = fn(t, k, fd, blob, err);
	}
	return r;
}

int read_all(struct tcp *t, struct crcore_error *err)
{
	int blob = t->host->blob(t->ctx, "socket", err);
	int r = blob < 0 ? blob : meanwhile_begin(t, err);

	for (unsigned i = 0; i < t->nknown; i++) {
		tcp__stream__init(&t->known[i].stream);
		tcp__queues__init(&t->known[i].queues);
	}
	if (!r)
		r = each(t, blob, read_sent, false, err);
	return r ? r : each(t, blob, read_received, true, err);
}
