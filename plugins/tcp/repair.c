/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: connections. In repair mode connect() makes one without a word to
 * the network, and what is sent goes where TCP_REPAIR_QUEUE says. What was never
 * sent must be left unsent, but repair mode knows only of what was sent; so it
 * is written outside of repair mode while the peer's window is said to be
 * closed, and the true window follows.
 */
#include "plugins/tcp/tcp.h"

#include <linux/tcp.h>
#include <sys/mman.h>

#define CHUNK (1u << 20)
#define MIN_MSS 88    /* of TCP_MAXSEG */
#define MAX_MSS 32767
#define OPT_MSS 2
#define OPT_WINDOW 3
#define OPT_SACK 4
#define OPT_TIMESTAMP 8

static int fail(const struct made *m, int r, const char *what, struct crcore_error *err)
{
	char here[END_TEXT], there[END_TEXT];

	crcore_fail_at(err, -1, -1, "socket %u, %s -> %s", m->rec->id, end_text(&m->local, here),
	               end_text(&m->remote, there));
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

/* -- connecting ----------------------------------------------------------------------------- */

int repair_sequence(int fd, int queue, uint32_t seq)
{
	int r = set_queue(fd, queue);

	return r < 0 ? r : set_int(fd, IPPROTO_TCP, T_QUEUE_SEQ, (int)seq);
}

static int set_negotiated(int fd, const Tcp__Stream *st)
{
	struct { uint32_t code, value; } opt[4];
	unsigned n = 0;

	opt[n].code = OPT_MSS;
	opt[n++].value = st->mss;
	if (st->scaling) {
		opt[n].code = OPT_WINDOW;
		opt[n++].value = st->send_scale | st->receive_scale << 16;
	}
	if (st->sack) {
		opt[n].code = OPT_SACK;
		opt[n++].value = 0;
	}
	if (st->timestamps) {
		opt[n].code = OPT_TIMESTAMP;
		opt[n++].value = 0;
	}
	if (setsockopt(fd, IPPROTO_TCP, T_REPAIR_OPTIONS, opt, n * (socklen_t)sizeof(*opt)) < 0)
		return -errno;
	return st->timestamps ? set_int(fd, IPPROTO_TCP, T_TIMESTAMP, (int)st->clock) : 0;
}

/* The kernel works out once more how large segments are: over IPv4 it can be made to. */
static int think_again(const struct made *m)
{
	char options[64];
	socklen_t len = sizeof(options);

	if (!end_is_v4(&m->remote))
		return 0;
	if (getsockopt(m->fd, IPPROTO_IP, IP_OPTIONS, options, &len) < 0 ||
	    setsockopt(m->fd, IPPROTO_IP, IP_OPTIONS, options, len) < 0)
		return -errno;
	return 0;
}

/*
 * The kernel works out how large segments are when it connects, before it can be
 * told what the peer takes. Over IPv4 a change of IP options has it think again;
 * otherwise the socket's own limit stands for the peer's meanwhile.
 */
static int limit_before(const struct made *m)
{
	uint32_t mss = m->rec->stream->mss;

	if (end_is_v4(&m->remote))
		return 0;
	return set_int(m->fd, IPPROTO_TCP, T_MAXSEG, mss > MAX_MSS ? MAX_MSS : mss < MIN_MSS ? MIN_MSS
	                                                                                   : (int)mss);
}

static int limit_after(const struct made *m)
{
	if (!end_is_v4(&m->remote))
		return set_int(m->fd, IPPROTO_TCP, T_MAXSEG, (int)m->rec->user_mss);
	return think_again(m);
}

int repair_connect(struct tcp *t, struct made *m, struct crcore_error *err)
{
	const Tcp__Stream *st = m->rec->stream;
	struct sockaddr_storage to;
	socklen_t len = end_to(&m->remote, &to);
	int r = made_socket(t, m, err);

	if (r < 0)
		return r;
	r = set_repair(m->fd, REPAIR_ON);
	m->repair = !r;
	if (!r)
		r = repair_sequence(m->fd, QUEUE_SEND, first_to_send(m));
	if (!r)
		r = repair_sequence(m->fd, QUEUE_RECEIVE, st->receive_next - m->rec->queues->received);
	if (!r)
		r = limit_before(m);
	if (r < 0)
		return fail(m, r, "cannot be given its numbers", err);
	r = made_bind(m, err);
	if (r < 0)
		return r;
	if (connect(m->fd, (struct sockaddr *)&to, len) < 0)
		return fail(m, -errno, "cannot be connected", err);
	r = set_negotiated(m->fd, st);
	if (!r)
		r = limit_after(m);
	return r < 0 ? fail(m, r, "cannot be given what was agreed with its peer", err) : 0;
}

/* -- queues ---------------------------------------------------------------------------------- */

/* Sends len bytes of the image from a place on. urgent: which of them is, and at most that. */
static int send_marked(struct tcp *t, const struct made *m, uint64_t at, size_t len, size_t urgent,
                       struct crcore_error *err)
{
	cleanup_free char *buf = malloc(len < CHUNK ? len + 1 : CHUNK);
	int blob = t->host->blob(t->ctx, "socket", err);

	if (blob < 0)
		return blob;
	if (!buf)
		return crcore_no_memory(err);
	for (size_t done = 0; done < len;) {
		/* The mark is behind the last byte of what is sent as urgent. */
		const size_t end = done <= urgent && urgent < len ? urgent + 1 : len;
		const int flag = end == urgent + 1 ? MSG_OOB : 0;
		size_t n = end - done < CHUNK ? end - done : CHUNK;
		ssize_t r = pread(blob, buf, n, (off_t)(at + done));
		if (r <= 0)
			return crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
		r = send(m->fd, buf, (size_t)r, MSG_DONTWAIT | MSG_NOSIGNAL | flag);
		if (r <= 0)
			return fail(m, r < 0 ? -errno : -EIO, "what was in its queues cannot be put back", err);
		done += (size_t)r;
	}
	return 0;
}

static int send_from(struct tcp *t, const struct made *m, uint64_t at, size_t len,
                     struct crcore_error *err)
{
	return send_marked(t, m, at, len, SIZE_MAX, err);
}

static uint32_t room_for(uint64_t bytes)
{
	uint64_t room = 2 * bytes + 256 * 1024;

	return room > INT_MAX / 2 ? INT_MAX / 2 : (uint32_t)room;
}

/* Up to the urgent byte, that, and what came after it. */
static int receive_urgent(struct tcp *t, struct made *m, uint32_t first, uint32_t ack,
                          struct crcore_error *err)
{
	const Tcp__Queues *q = m->rec->queues;
	uint32_t before = q->urgent - 1;
	int blob = t->host->blob(t->ctx, "socket", err), r;
	uint8_t byte;

	if (blob < 0)
		return blob;
	r = send_from(t, m, q->receive_blob, before, err);
	if (!r && pread(blob, &byte, 1, (off_t)(q->receive_blob + before)) != 1)
		r = crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
	if (!r)
		r = urgent_put(t, m, byte, first + before, ack, err);
	if (!r && q->urgent_read)
		recv(m->fd, &byte, 1, MSG_OOB | MSG_DONTWAIT);
	if (!r && set_queue(m->fd, QUEUE_RECEIVE) < 0)
		r = fail(m, -errno, "what it has received cannot be put back", err);
	return r ? r : send_from(t, m, q->receive_blob + q->urgent, q->received - q->urgent, err);
}

int repair_receive(struct tcp *t, struct made *m, uint32_t first, uint32_t ack,
                   struct crcore_error *err)
{
	const Tcp__Queues *q = m->rec->queues;
	int r;

	if (!q->received)
		return 0;
	r = net_buffer_room(m->fd, false, room_for(q->received));
	if (!r)
		r = set_queue(m->fd, QUEUE_RECEIVE);
	if (r < 0)
		return fail(m, r, "cannot make room for what it has received", err);
	return q->urgent ? receive_urgent(t, m, first, ack, err)
	                 : send_from(t, m, q->receive_blob, q->received, err);
}

static int set_window(int fd, const struct tcp_window *w)
{
	return setsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, w, sizeof(*w)) < 0 ? -errno : 0;
}

/* In or out of repair mode, what is sent now goes into the send queue and stays there. */
static int close_window(int fd, uint32_t received)
{
	struct tcp_window w;
	socklen_t len = sizeof(w);

	if (getsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, &w, &len) < 0)
		return -errno;
	w.send = 0;
	w.wl1 = received; /* any number that can be */
	return set_window(fd, &w);
}

static int send_unsent(struct tcp *t, struct made *m, uint64_t at, size_t len, size_t urgent,
                       bool fin, struct crcore_error *err)
{
	int r = close_window(m->fd, m->rec->stream->receive_next);

	if (!r) {
		r = set_repair(m->fd, REPAIR_OFF_SILENT);
		m->repair = r < 0;
	}
	if (r < 0)
		return fail(m, r, "its send queue cannot be filled", err);
	r = send_marked(t, m, at, len, urgent, err);
	if (!r && fin && shutdown(m->fd, SHUT_WR) < 0)
		r = fail(m, -errno, "cannot be shut down", err);
	if (!r) {
		r = set_repair(m->fd, REPAIR_ON);
		m->repair = !r;
		if (r < 0)
			fail(m, r, "its send queue cannot be filled", err);
	}
	return r;
}

/* What the peer can take: if it is in the tree, what that says itself. */
static int true_window(const struct made *m)
{
	const Tcp__Stream *st = m->rec->stream, *other = m->peer ? m->peer->rec->stream : NULL;
	struct tcp_window now, w = { .wl1 = st->window_seq, .send = st->send_window,
		.max = st->max_window, .receive = st->receive_window, .wup = st->window_sent };
	socklen_t len = sizeof(now);

	if (getsockopt(m->fd, IPPROTO_TCP, T_REPAIR_WINDOW, &now, &len) < 0)
		return -errno;
	if (st->fin_acked && st->fin_received)
		return 0; /* closed by now */
	if (other) {
		int32_t left = (int32_t)(other->window_sent + other->receive_window - m->una);
		w.send = left > 0 ? (uint32_t)left : 0;
	}
	if (w.max < w.send)
		w.max = w.send;
	return set_window(m->fd, &w);
}

/* After repair_receive(): what is to be sent, and what has been said of the end. */
int repair_send(struct tcp *t, struct made *m, struct crcore_error *err)
{
	const Tcp__Queues *q = m->rec->queues;
	const Tcp__Stream *st = m->rec->stream;
	uint32_t len = q->sent + q->unsent, skip = m->skip < len ? m->skip : len;
	uint32_t sent = m->peer || q->sent < skip ? 0 : q->sent - skip, unsent = len - skip - sent;
	size_t urgent = q->urgent_to_send > skip ? q->urgent_to_send - 1 - skip : SIZE_MAX;
	bool fin_unsent = st->fin_sent && (unsent || (m->peer && m->una != st->send_next + 1));
	int r = ends_peer_first(t, m, err);

	if (r < 0)
		return r;
	if (len > skip)
		r = net_buffer_room(m->fd, true, room_for(len - skip));
	if (!r)
		r = set_queue(m->fd, QUEUE_SEND);
	if (r < 0)
		return fail(m, r, "cannot make room for what it has to send", err);
	if (sent)
		r = send_marked(t, m, q->blob + skip, sent, urgent, err);
	if (urgent != SIZE_MAX)
		urgent = urgent < sent ? SIZE_MAX : urgent - sent;
	if (!r && (unsent || fin_unsent))
		r = send_unsent(t, m, q->blob + skip + sent, unsent, urgent, fin_unsent, err);
	if (!r && st->fin_sent && !fin_unsent && shutdown(m->fd, SHUT_WR) < 0)
		r = fail(m, -errno, "cannot be shut down", err);
	if (!r)
		r = ends_peer_last(t, m, err);
	if (r < 0)
		return r;
	r = true_window(m);
	if (!r) /* segments are no larger than half of the largest window that the peer had */
		r = think_again(m);
	return r < 0 ? fail(m, r, "cannot be given its window", err) : 0;
}
