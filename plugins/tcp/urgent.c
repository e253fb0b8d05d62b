/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Urgent data: one byte among those received that the kernel keeps a mark at. How
 * many bytes wait is told up to the mark only, or in all if SO_OOBINLINE is set, and
 * a look at them stops there; so the option is turned for a moment, and turned back.
 * On restore the byte is received once more, by a segment as from the peer. What is
 * still to be sent: urgent_send.c.
 */
#include "plugins/tcp/inject.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>

#define TRIES 500
#define WINDOW 0xffff

static int fail(const struct made *m, int r, const char *what, struct crcore_error *err)
{
	char here[END_TEXT];

	crcore_fail_at(err, -1, -1, "socket %u at %s", m->rec->id, end_text(&m->local, here));
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

/* -- dump ---------------------------------------------------------------------------------- */

int urgent_supported(struct crcore_error *err)
{
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd >= 0 && set_int(fd, SOL_SOCKET, SO_PEEK_OFF, 0) == 0)
		return 0;
	crcore_advise(err, "dump when it has been read");
	return crcore_fail(err, -ENOTSUP, "urgent data waits in it, which this kernel does not let be "
	                   "looked at in its place (SO_PEEK_OFF of TCP)");
}

static int set_inline(struct reader *r, const struct known *k, int fd, int value)
{
	meanwhile_of(r->meanwhile, k, fd);
	return meanwhile_set(r->meanwhile, SOL_SOCKET, SO_OOBINLINE, value,
	                     known_value(k, SOL_SOCKET, SO_OOBINLINE, 0));
}

/* Segments may arrive meanwhile: then it is asked again. */
int urgent_count(struct reader *rd, const struct known *k, int fd, int *ret_all, int *ret_mark)
{
	int own = known_value(k, SOL_SOCKET, SO_OOBINLINE, 0), first, other, last, r;

	for (int i = 0; i < TRIES; i++) {
		if (ioctl(fd, SIOCINQ, &first) < 0)
			return -errno;
		r = set_inline(rd, k, fd, !own);
		if (!r && ioctl(fd, SIOCINQ, &other) < 0)
			r = -errno;
		meanwhile_back(rd->meanwhile);
		if (r < 0 || ioctl(fd, SIOCINQ, &last) < 0)
			return r < 0 ? r : -errno;
		*ret_all = other > last ? other : last;
		*ret_mark = other > last ? last : other;
		if (first == last)
			return 0;
	}
	return -EBUSY;
}

ssize_t urgent_peek(struct reader *rd, const struct known *k, int fd, void *buf, size_t len,
                    size_t from)
{
	int own = known_value(k, SOL_SOCKET, SO_PEEK_OFF, -1), r = set_inline(rd, k, fd, 1);
	ssize_t n = -1;

	if (!r)
		r = meanwhile_set(rd->meanwhile, SOL_SOCKET, SO_PEEK_OFF, (int)from, own);
	if (!r)
		n = recv(fd, buf, len, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && !r)
		r = -errno;
	meanwhile_back(rd->meanwhile);
	return r < 0 ? r : n;
}

/* -- restore ------------------------------------------------------------------------------- */

/* What was put back did not count for the window. */
static int open_window(int fd, uint32_t next)
{
	struct tcp_window w;
	socklen_t len = sizeof(w);

	if (getsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, &w, &len) < 0)
		return -errno;
	w.receive = WINDOW;
	w.wup = w.wl1 = next;
	if (w.max < w.send)
		w.max = w.send;
	return setsockopt(fd, IPPROTO_TCP, T_REPAIR_WINDOW, &w, sizeof(w)) < 0 ? -errno : 0;
}

int urgent_put(struct tcp *t, const struct made *m, uint8_t byte, uint32_t seq, uint32_t ack,
               struct crcore_error *err)
{
	const struct said what = { SEG_URG | SEG_ACK, WINDOW, seq, ack, &byte, 1 };
	struct timespec pause = { 0, 100000 };
	int r = open_window(m->fd, seq);

	if (!r)
		r = set_queue(m->fd, QUEUE_NONE);
	for (int i = 0; !r && i < TRIES; i++) {
		struct pollfd p = { .fd = m->fd, .events = POLLPRI };
		if (i)
			nanosleep(&pause, NULL);
		r = i % 50 ? 0 : inject(t, &m->remote, &m->local, &what);
		if (!r && poll(&p, 1, 0) > 0 && p.revents & POLLPRI)
			return 0;
	}
	crcore_advise(err, "is there a firewall rule that drops packets from this machine to itself?");
	return fail(m, r < 0 ? r : -ETIMEDOUT, "urgent data cannot be put back", err);
}
