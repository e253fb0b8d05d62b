/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: sequence numbers and queues of connections. The tasks stand still, the
 * kernel does not: it may still deliver, acknowledge and send again what is
 * under way between two sockets of the tree. So both ends of a connection are read
 * one right after the other, and once more if the first end had not yet received what
 * the second need not send any more: then whatever one has received is known to the
 * other, and the restore compares the numbers of both.
 *
 * What a reader could break: nothing may be done to a socket in repair mode
 * that can wait. Of one socket, what it has to send is read before what it has received.
 */
#include "plugins/tcp/tcp.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#define SLACK (128 * 1024) /* a first segment that is acknowledged in part */
#define TRIES 100

/* What a connection had at one moment. */
struct seen {
	struct tcp_info info;
	int queued, unsent;     /* to be sent; the FIN counts */
	int all, mark;          /* waits to be read: in all, before the mark of urgent data */
	/* in repair mode: */
	ssize_t sent;           /* bytes of the send queue that are at */
	char *at;
	int mss;
	uint32_t send_next, receive_next; /* the FIN counts */
	struct tcp_window window;
};

static int fail(const struct known *k, int r, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, k->obj->pid, k->obj->fd, "%s", k->obj->link);
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

/* Until it is asked for again. NULL: err is filled. */
static char *room_for(struct reader *rd, size_t len, struct crcore_error *err)
{
	if (len > rd->size) {
		free(rd->room);
		rd->room = malloc(len);
		rd->size = rd->room ? len : 0;
	}
	if (!rd->room)
		crcore_no_memory(err);
	return rd->room;
}

/* -- a look ------------------------------------------------------------------------ */

static int enter_repair(struct meanwhile *m, const struct known *k, int fd)
{
	int reuse = known_value(k, SOL_SOCKET, SO_REUSEADDR, 0);

	meanwhile_of(m, k, fd);
	if (reuse) /* repair mode clears it */
		meanwhile_note(m, SOL_SOCKET, SO_REUSEADDR, reuse);
	return meanwhile_set(m, IPPROTO_TCP, T_REPAIR, REPAIR_ON, REPAIR_OFF_SILENT);
}

int repair_number(int fd, int queue, uint32_t *ret)
{
	socklen_t len = sizeof(*ret);
	int r = set_queue(fd, queue);

	return r < 0 ? r : getsockopt(fd, IPPROTO_TCP, T_QUEUE_SEQ, ret, &len) < 0 ? -errno : 0;
}

/* In repair mode. */
static int look_inside(int fd, struct seen *s)
{
	socklen_t len = sizeof(s->window);
	int r = repair_number(fd, QUEUE_SEND, &s->send_next);

	if (r < 0)
		return r;
	s->mss = get_int(fd, IPPROTO_TCP, T_MAXSEG);
	if (s->mss < 0)
		return s->mss;
	s->sent = 0;
	if (s->queued) {
		s->sent = recv(fd, s->at, (size_t)s->queued + SLACK, MSG_PEEK | MSG_DONTWAIT);
		if (s->sent < 0 && errno != EAGAIN)
			return -errno;
		if (s->sent < 0)
			s->sent = 0;
	}
	r = repair_number(fd, QUEUE_RECEIVE, &s->receive_next);
	if (!r && getsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, &s->window, &len) < 0)
		r = -errno;
	return r;
}

static int get_info(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return getsockopt(fd, IPPROTO_TCP, T_INFO, ret, &len) < 0 ? -errno : 0;
}

static int look_to_send(int fd, struct seen *s)
{
	s->unsent = 0;
	if (ioctl(fd, SIOCOUTQ, &s->queued) < 0 ||
	    (s->queued && ioctl(fd, SIOCOUTQNSD, &s->unsent) < 0))
		return -errno;
	return 0;
}

static bool same_moment(const struct tcp_info *a, const struct tcp_info *b)
{
	return a->tcpi_bytes_received == b->tcpi_bytes_received && a->tcpi_state == b->tcpi_state;
}

/* Numbers that belong together, although segments may still arrive. */
static int look(struct reader *rd, const struct known *k, int fd, struct seen *s,
                struct crcore_error *err)
{
	struct tcp_info before;

	for (int i = 0; i < TRIES; i++) {
		int r = get_info(fd, &before);
		if (!r)
			r = look_to_send(fd, s);
		if (!r)
			r = urgent_count(rd, k, fd, &s->all, &s->mark);
		if (r < 0)
			return fail(k, r, "cannot be asked what waits in it", err);
		if (s->queued && !(s->at = room_for(rd, (size_t)s->queued + SLACK, err)))
			return err->code;
		r = enter_repair(rd->meanwhile, k, fd);
		if (!r)
			r = look_inside(fd, s);
		set_queue(fd, QUEUE_NONE);
		meanwhile_back(rd->meanwhile);
		if (!r)
			r = get_info(fd, &s->info);
		if (r < 0)
			return fail(k, r, "its numbers cannot be read", err);
		if (same_moment(&before, &s->info))
			return 0;
	}
	return fail(k, -EBUSY, "its numbers cannot be read", err);
}

/* -- what it says ------------------------------------------------------------------- */

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

static void note_numbers(struct known *k, const struct seen *s)
{
	Tcp__Stream *st = &k->stream;
	uint8_t state = s->info.tcpi_state;

	note_options(&s->info, st);
	/* A FIN has a number and no byte; ours is the last to be acknowledged. */
	st->fin_sent = fin_sent_in(state);
	st->fin_acked = state == ST_FIN_WAIT2;
	st->fin_received = fin_received_in(state);
	st->first_to_close = state == ST_CLOSING;
	st->send_next = s->send_next - st->fin_sent;
	st->receive_next = s->receive_next - st->fin_received;
	st->mss = (uint32_t)s->mss;
	st->window_seq = s->window.wl1;
	st->send_window = s->window.send;
	st->max_window = s->window.max;
	st->receive_window = s->window.receive;
	st->window_sent = s->window.wup;
	k->received = s->receive_next;
}

/* The bytes at the end of those that were seen: others are acknowledged. */
static int keep_sent(struct tcp *t, struct known *k, int fd, const struct seen *s)
{
	int fin = k->stream.fin_sent, queued = s->queued - (s->queued ? fin : 0);
	int unsent = s->unsent - (s->unsent ? fin : 0);

	if (s->sent < queued) /* acknowledged meanwhile */
		queued = (int)s->sent;
	if (unsent > queued)
		unsent = queued;
	k->to_send = s->queued ? k->stream.send_next - (uint32_t)queued : s->send_next;
	k->queues.sent = (uint32_t)(queued - unsent);
	k->queues.unsent = (uint32_t)unsent;
	k->queues.urgent_to_send = urgent_to_send(t, fd, k->to_send, (uint32_t)queued);
	return bytes_put(t, queued ? s->at + s->sent - queued : NULL, (size_t)queued, &k->queues.blob);
}

/* -- what was received --------------------------------------------------------------- */

/* A socket may have an own idea of where a peek begins. */
static int peek(struct meanwhile *m, const struct known *k, int fd, char *at, size_t len)
{
	int offset = known_value(k, SOL_SOCKET, SO_PEEK_OFF, -1), r = 0;
	ssize_t n = -1;

	meanwhile_of(m, k, fd);
	if (offset >= 0)
		r = meanwhile_set(m, SOL_SOCKET, SO_PEEK_OFF, 0, offset);
	if (!r)
		n = recv(fd, at, len, MSG_PEEK | MSG_DONTWAIT);
	if (!r && n != (ssize_t)len)
		r = n < 0 ? -errno : -EIO;
	meanwhile_back(m);
	return r;
}

/* The same, where some of it is urgent. */
static int peek_urgent(struct reader *rd, const struct known *k, int fd, char *at, size_t len)
{
	for (size_t have = 0; have < len;) {
		ssize_t n = urgent_peek(rd, k, fd, at + have, len - have, have);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		have += (size_t)n;
	}
	return 0;
}

static int keep_received(struct reader *rd, struct known *k, int fd, const struct seen *s,
                         struct crcore_error *err)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	const size_t len = (size_t)s->all;
	char *at;
	int r;

	k->queues.received = (uint32_t)s->all;
	k->queues.urgent = s->mark == s->all ? 0 : (uint32_t)s->mark + 1;
	k->queues.urgent_read = k->queues.urgent && poll(&p, 1, 0) >= 0 && !(p.revents & POLLPRI);
	if (!len)
		return 0;
	at = room_for(rd, len, err);
	if (!at)
		return err->code;
	r = k->queues.urgent ? peek_urgent(rd, k, fd, at, len) : peek(rd->meanwhile, k, fd, at, len);
	if (r < 0)
		return fail(k, r, "what it has received cannot be read", err);
	return bytes_fail(bytes_put(rd->t, at, len, &k->queues.receive_blob), err);
}

/* -- connections ----------------------------------------------------------------------- */

static bool kept(const struct known *k)
{
	return k->obj && !k->unaccepted && state_connected(k->state) && k->verdict == KEEP;
}

/* What they have received can be read yet. */
static bool closed(const struct known *k)
{
	return k->obj && !k->unaccepted && ((k->state == ST_CLOSE && k->hung_up) ||
	                                    (state_connected(k->state) && k->verdict == CLOSE));
}

static int read_closed(struct reader *rd, struct known *k, int fd, struct crcore_error *err)
{
	struct seen s = { 0 };
	int r = urgent_count(rd, k, fd, &s.all, &s.mark);

	return r < 0 ? fail(k, r, "cannot be asked what waits in it", err)
	             : keep_received(rd, k, fd, &s, err);
}

static int read_open(struct reader *rd, struct known *k, int fd, struct crcore_error *err)
{
	struct seen s = { 0 };
	int r = look(rd, k, fd, &s, err);

	if (r < 0)
		return r;
	note_numbers(k, &s);
	r = keep_sent(rd->t, k, fd, &s);
	if (r < 0)
		return bytes_fail(r, err);
	if (s.info.tcpi_state == ST_CLOSE) { /* its end has come just now */
		struct pollfd p = { .fd = fd };
		k->state = ST_CLOSE;
		k->hung_up = k->was_connected = true;
		k->error = poll(&p, 1, 0) > 0 && p.revents & POLLERR;
	}
	return keep_received(rd, k, fd, &s, err);
}

/* The second has acknowledgements of what the first had not received when it was read. */
static bool apart(const struct known *first, const struct known *second)
{
	return state_connected(first->state) && state_connected(second->state) &&
	       (int32_t)(second->to_send - first->received) > 0;
}

static int read_both(struct reader *rd, struct known *k, int fd, int other,
                     struct crcore_error *err)
{
	int r = 0;

	for (int i = 0; !r && i < TRIES; i++) {
		r = read_open(rd, k, fd, err);
		if (!r)
			r = read_open(rd, k->peer, other, err);
		if (!r && !apart(k, k->peer))
			return 0;
	}
	return r ? r : fail(k, -EBUSY, "its numbers cannot be read", err);
}

static int read_end(struct reader *rd, struct known *k, int fd, struct crcore_error *err)
{
	k->read = kept(k) || closed(k);
	return kept(k) ? read_open(rd, k, fd, err) : closed(k) ? read_closed(rd, k, fd, err) : 0;
}

int read_connection(struct reader *rd, struct known *k, int fd, int other, struct crcore_error *err)
{
	int r;

	if (other >= 0 && kept(k) && kept(k->peer)) {
		k->read = k->peer->read = true;
		return read_both(rd, k, fd, other, err);
	}
	r = read_end(rd, k, fd, err);
	return r || other < 0 ? r : read_end(rd, k->peer, other, err);
}
