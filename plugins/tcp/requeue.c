/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a connection into the backlog of the socket that listens for it, as it was when
 * it waited there before: the last segment of a handshake that never was (reqsk.c), then what
 * the peer has said since, all as if from the peer. What the kernel answers is held back
 * by the network lock.
 *
 * A reader could break: this runs in the process of last wills too. It uses its arguments
 * and system calls, and nothing else.
 */
#include "plugins/tcp/backlog.h"
#include "plugins/tcp/inject.h"

#include <linux/tcp.h>
#include <time.h>

#define ENOUGH 32768u /* bytes that any connection takes which nobody reads */
#define SEGMENT 15000 /* fills the kernel's buffers well */
#define SMALLEST 500
#define BURST 8       /* of them before it is asked what has arrived */
#define TRIES 5000    /* without progress */

static int say(const struct requeue *q, const struct queued *w, uint8_t flags, uint32_t seq,
               const void *data, size_t len)
{
	const struct said what = { flags, w->window, seq, w->ack, data, len };

	return inject_by(q->raw[end_is_v4(&w->local)], &w->remote, &w->local, &what);
}

/* One segment of what was received; the urgent byte has one of its own. Returns its length. */
static int say_some(const struct requeue *q, const struct queued *w, uint32_t from)
{
	const bool urgent = w->urgent && from == w->urgent - 1;
	uint32_t left = w->received - from;
	char buf[SEGMENT];
	ssize_t len;
	int r;

	if (urgent)
		left = 1;
	else if (from < w->urgent)
		left = w->urgent - 1 - from;
	len = pread(q->blob, buf, left < SEGMENT ? left : SEGMENT, (off_t)(w->at + from));
	if (len <= 0)
		return len < 0 ? -errno : -EBADMSG;
	r = say(q, w, SEG_ACK | (urgent ? SEG_URG : 0), w->first + from, buf, (size_t)len);
	for (; r == -EMSGSIZE && len > SMALLEST; len /= 2) /* the loopback device wants smaller ones */
		r = say(q, w, SEG_ACK, w->first + from, buf, (size_t)len / 2);
	return r < 0 ? r : (int)len;
}

static int say_rest(const struct requeue *q, const struct queued *w, uint32_t from)
{
	for (int i = 0; i < BURST && from < w->received; i++) {
		int r = say_some(q, w, from);
		if (r < 0)
			return r;
		from += (uint32_t)r;
	}
	if (!w->fin || from != w->received)
		return 0;
	return say(q, w, SEG_ACK | SEG_FIN, w->first + from, NULL, 0);
}

/* Until it is there, and has what was received. */
static int tell(const struct requeue *q, const struct queued *w)
{
	struct timespec pause = { 0, 100000 };
	uint32_t next = w->first, before = next;
	int there = 0, r = 0;

	for (int i = 0; i < TRIES; i++) {
		if (i > 2)
			nanosleep(&pause, NULL);
		if (there)
			r = say_rest(q, w, next - w->first);
		if (r >= 0) /* makes it, or only has our program look at it */
			r = say(q, w, SEG_ACK, next, NULL, 0);
		if (r >= 0)
			r = there = reqsk_seen(&q->reqsk, w, &next);
		if (r < 0)
			return r;
		if (!there || next - w->first > w->received + w->fin)
			next = w->first;
		if (there && next - w->first == w->received + w->fin)
			return 0;
		if (next != before)
			i = 0;
		before = next;
	}
	return -ETIMEDOUT;
}

/* A backlog that is full takes one more, and a connection that is made there inherits room for
 * what it has received. */
struct room {
	struct net_buffers buffers;
	int backlog; /* 0: need not be changed */
	bool more;
};

static void make_room(int listener, const struct queued *w, struct room *own)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	*own = (struct room){ .more = w->received > ENOUGH };
	if (own->more) {
		net_buffers_read(listener, &own->buffers);
		struct net_buffers larger = own->buffers;
		if (larger.receive < 2 * w->received + 8 * ENOUGH)
			larger.receive = 2 * w->received + 8 * ENOUGH;
		net_buffers_set(listener, &larger);
	}
	if (getsockopt(listener, IPPROTO_TCP, T_INFO, &info, &len) == 0 &&
	    info.tcpi_unacked > info.tcpi_sacked && listen(listener, (int)info.tcpi_unacked) == 0)
		own->backlog = (int)info.tcpi_sacked;
}

static void take_back_room(int listener, const struct room *own)
{
	if (own->backlog)
		listen(listener, own->backlog);
	if (own->more)
		net_buffers_set(listener, &own->buffers);
}

int requeue(const struct requeue *q, int listener, const struct queued *w)
{
	struct room own;
	int r = reqsk_expect(&q->reqsk, w);

	if (r < 0)
		return r;
	make_room(listener, w, &own);
	r = tell(q, w);
	take_back_room(listener, &own);
	reqsk_forget(&q->reqsk, w);
	/* The second is for nobody, or for one that was lost. */
	for (int i = 0; !r && w->reset && i < 2; i++)
		r = say(q, w, SEG_RST, w->first + w->received + w->fin, NULL, 0);
	return r;
}

/* It cannot be kept: its peer is not to wait for ever. */
void requeue_reset(const struct requeue *q, const struct queued *w)
{
	const struct said what = { .flags = SEG_RST | SEG_ACK, .seq = w->ack,
		.ack = w->first + w->received + w->fin };

	if (!w->reset)
		inject_by(q->raw[end_is_v4(&w->local)], &w->local, &w->remote, &what);
}

int requeue_begin(struct requeue *q, int blob, int *kfunc, struct crcore_error *err)
{
	int r = reqsk_begin(&q->reqsk, kfunc, err);

	q->blob = blob;
	q->raw[0] = q->raw[1] = -1;
	for (int v4 = 0; !r && v4 < 2; v4++) {
		q->raw[v4] = inject_open(v4);
		if (q->raw[v4] < 0 && (v4 || q->raw[v4] != -EAFNOSUPPORT))
			r = crcore_fail(err, q->raw[v4], "what peers have said cannot be repeated: %s",
			                strerror(-q->raw[v4]));
	}
	return r;
}

void requeue_end(struct requeue *q)
{
	close_fd(&q->raw[0]);
	close_fd(&q->raw[1]);
	reqsk_end(&q->reqsk);
}
