/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: a connection that waited to be accepted, and has been accepted by crcore: its numbers
 * and what it has received. Nothing was sent on it. It is nobody else's, so it stays in repair
 * mode, and its options may be changed.
 *
 * A reader could break: this runs in the process of last wills too. It uses its arguments and
 * system calls, and nothing else.
 */
#include "plugins/tcp/backlog.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#define PIECE 16384

/* In repair mode from here on. */
static int read_numbers(int fd, struct queued *w, uint8_t *ret_state)
{
	struct tcp_window window = { 0 };
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info), wlen = sizeof(window), clen = sizeof(w->clock);
	int r = getsockopt(fd, IPPROTO_TCP, T_INFO, &info, &len) < 0 ? -errno :
	        set_repair(fd, REPAIR_ON);
	int mss = r < 0 ? r : get_int(fd, IPPROTO_TCP, T_MAXSEG);

	if (mss < 0)
		return mss;
	w->mss = (uint16_t)mss;
	w->timestamps = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
	w->sack = info.tcpi_options & TCPI_OPT_SACK;
	w->scaling = info.tcpi_options & TCPI_OPT_WSCALE;
	w->ecn = info.tcpi_options & TCPI_OPT_ECN;
	w->send_scale = info.tcpi_snd_wscale;
	w->receive_scale = info.tcpi_rcv_wscale;
	r = repair_number(fd, QUEUE_SEND, &w->ack);
	if (!r)
		r = repair_number(fd, QUEUE_RECEIVE, &w->first); /* for now: behind all */
	if (!r && (getsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, &window, &wlen) < 0 ||
	           getsockopt(fd, IPPROTO_TCP, T_TIMESTAMP, &w->clock, &clen) < 0))
		r = -errno;
	w->window = (uint16_t)(window.send >> w->send_scale);
	*ret_state = info.tcpi_state;
	return r;
}

/* It is ours, so its options may be. A look stops at urgent data. */
static int copy_received(int fd, int blob, struct queued *w)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	bool urgent = poll(&p, 1, 0) > 0 && p.revents & POLLPRI;
	int at_mark = 0, r = set_int(fd, SOL_SOCKET, SO_PEEK_OFF, 0);
	char buf[PIECE];
	ssize_t n;

	if (!r)
		r = set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	if (urgent && ioctl(fd, SIOCATMARK, &at_mark) == 0 && at_mark)
		w->urgent = 1;
	while (!r && (n = recv(fd, buf, PIECE, MSG_PEEK | MSG_DONTWAIT)) > 0) {
		r = write_all(blob, buf, (size_t)n);
		w->received += (uint32_t)n;
		if (urgent && !w->urgent && n < PIECE)
			w->urgent = w->received + 1;
	}
	return r;
}

int accepted_read(struct queued *w, int fd, int blob, uint64_t at)
{
	uint8_t state = ST_CLOSE;
	int r = read_numbers(fd, w, &state), error = 0;

	w->received = w->urgent = 0;
	w->reset = false;
	if (!r && state != ST_ESTABLISHED && state != ST_CLOSE_WAIT && state != ST_CLOSE)
		r = -ENOTSUP; /* not open yet: data came with its very first segment */
	if (!r && state == ST_CLOSE) { /* EPIPE: it had been told of the end before */
		error = get_int(fd, SOL_SOCKET, SO_ERROR);
		w->reset = true;
	}
	w->fin = state == ST_CLOSE_WAIT || error == EPIPE;
	w->at = at;
	if (!r)
		r = copy_received(fd, blob, w);
	if (w->urgent > w->received)
		w->urgent = 0;
	w->first -= w->received + w->fin;
	return r;
}

void accepted_end(int fd)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	connect(fd, &nobody, sizeof(nobody));
}

int accepted_names(int fd, struct queued *w)
{
	struct sockaddr_storage here, there;
	socklen_t hlen = sizeof(here), tlen = sizeof(there);

	if (getsockname(fd, (struct sockaddr *)&here, &hlen) < 0 ||
	    getpeername(fd, (struct sockaddr *)&there, &tlen) < 0)
		return -errno;
	end_from((struct sockaddr *)&there, &w->remote);
	end_from((struct sockaddr *)&here, &w->local);
	return 0;
}

bool accepted_is(int fd, const struct queued *w)
{
	struct queued now = { .accepted = fd };

	return accepted_names(fd, &now) == 0 && end_compare(&now.remote, &w->remote) == 0;
}
