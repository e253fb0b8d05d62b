/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: what waits to be received. SO_PEEK_OFF lets one peek behind what was
 * peeked before. While we look, the socket is also asked to tell where each
 * datagram was sent to, its TTL and TOS. All of that is put back, by an undo
 * entry too should we fail in between.
 */
#include "udp.h"

#include <netinet/udp.h>
#include <poll.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif
#define IPV6_ORIGDSTADDR_NUMBER IPV6_RECVORIGDSTADDR
#define ROOM (64 * 1024)

struct reader {
	struct udp *u;
	Udp__Socket *rec;
	int fd, blob;
	char *buf;
	size_t allocated;
	uint64_t seen;
};

struct extra { /* what came with one datagram */
	union address to;
	bool has_to;
	uint32_t ttl, tos, segment;
};

/* -- the state of the socket meanwhile --------------------------------------------------- */

static void queue_unpeek(void *arg)
{
	struct peeking *p = arg;

	while (p->fd >= 0 && p->n) {
		p->n--;
		setsockopt(p->fd, p->level[p->n], p->number[p->n], &p->before[p->n], sizeof(int));
	}
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static int set(struct peeking *p, int level, int number, int value)
{
	int before = 0;
	socklen_t len = sizeof(before);

	if (p->n == PEEKING_MAX || getsockopt(p->fd, level, number, &before, &len) < 0)
		return 0; /* the kernel does not have it: less is known then */
	if (before == value)
		return 0;
	p->level[p->n] = level;
	p->number[p->n] = number;
	p->before[p->n++] = before;
	return setsockopt(p->fd, level, number, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int start(struct udp *u, int fd, const Udp__Socket *rec, struct crcore_error *err)
{
	struct peeking *p = &u->peeking;
	int r = p->undo ? 0 : u->host->undo(u->ctx, queue_unpeek, p, false, err);

	if (r < 0)
		return r;
	p->undo = true;
	p->n = 0;
	p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	r = p->fd < 0 ? -errno : set(p, SOL_SOCKET, SO_PEEK_OFF, 0);
	if (!r && p->n == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &r, &(socklen_t){ sizeof(r) }) < 0)
		r = -errno;
	if (!r)
		r = set(p, SOL_IP, IP_RECVORIGDSTADDR, 1);
	if (!r)
		r = set(p, SOL_IP, IP_RECVTTL, 1);
	if (!r)
		r = set(p, SOL_IP, IP_RECVTOS, 1);
	if (!r && rec->family == AF_INET6 && !(r = set(p, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1)) &&
	    !(r = set(p, SOL_IPV6, IPV6_RECVHOPLIMIT, 1)))
		r = set(p, SOL_IPV6, IPV6_RECVTCLASS, 1);
	return r < 0 ?
	       crcore_fail(err, r, "cannot prepare a look at what waits in it: %s", strerror(-r)) : 0;
}

/* -- one datagram ---------------------------------------------------------------------------- */

static void take_control(struct msghdr *h, struct extra *x)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);
		int word = 0;
		memcpy(&word, CMSG_DATA(c), len < sizeof(word) ? len : sizeof(word));
		if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_ORIGDSTADDR) ||
		    (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR_NUMBER)) {
			memcpy(&x->to, CMSG_DATA(c), len < sizeof(x->to) ? len : sizeof(x->to));
			x->has_to = true;
		} else if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_TTL) ||
		           (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)) {
			x->ttl = (uint32_t)word & 255;
		} else if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_TOS) ||
		           (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_TCLASS)) {
			x->tos = (uint32_t)word & 255;
		} else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			x->segment = (uint32_t)word;
		}
	}
}

static int keep(struct reader *q, uint32_t length, const union address *from, const struct extra *x)
{
	Udp__Socket *rec = q->rec;
	socklen_t len = address_len(rec->family);
	Udp__Message *m;

	if (rec->n_queue == q->allocated) {
		size_t more = q->allocated ? 2 * q->allocated : 16;
		void *grown = realloc(rec->queue, more * sizeof(*rec->queue));
		if (!grown)
			return -ENOMEM;
		rec->queue = grown;
		q->allocated = more;
	}
	m = malloc(sizeof(*m) + 2 * sizeof(union address));
	if (!m)
		return -ENOMEM;
	udp__message__init(m);
	m->length = length;
	m->ttl = x->ttl;
	m->tos = x->tos;
	m->from.len = len;
	m->from.data = memcpy(m + 1, from, sizeof(*from));
	m->to.len = x->has_to ? address_len(x->to.any.sa_family) : 0;
	m->to.data = memcpy((char *)(m + 1) + sizeof(*from), &x->to, sizeof(x->to));
	rec->queue[rec->n_queue++] = m;
	return 0;
}

static bool link_local(const union address *from)
{
	return from->any.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&from->v6.sin6_addr);
}

/* 1: there was one, 0: no more. */
static int peek(struct reader *q)
{
	char control[512] __attribute__((aligned(8)));
	union address from = { 0 };
	struct extra x = { .ttl = 64 };
	struct iovec io = { q->buf, ROOM };
	struct msghdr h = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &io,
		.msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(q->fd, &h, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	uint32_t left, part;
	int r = 0;

	if (n < 0)
		return errno == EAGAIN ? 0 : errno == ECONNREFUSED || errno == EHOSTUNREACH ||
		       errno == ENETUNREACH || errno == EMSGSIZE ? 1 : -errno; /* an error that waited */
	if (n > ROOM || link_local(&from))
		return -EOPNOTSUPP;
	take_control(&h, &x);
	left = (uint32_t)n;
	do { /* what the kernel has put together is put back one by one */
		part = x.segment && x.segment < left ? x.segment : left;
		r = keep(q, part, &from, &x);
		left -= part;
	} while (!r && left);
	q->seen += (uint64_t)n;
	if (!r)
		r = write_all(q->blob, q->buf, (size_t)n);
	return r ? r : 1;
}

static int peek_all(struct reader *q, struct crcore_error *err)
{
	int r;

	q->blob = q->u->host->blob(q->u->ctx, "socket", err);
	if (q->blob < 0)
		return q->blob;
	q->buf = malloc(ROOM);
	if (!q->buf)
		return crcore_no_memory(err);
	r = start(q->u, q->fd, q->rec, err);
	if (r < 0)
		return r;
	q->rec->blob = q->u->blob_end;
	while ((r = peek(q)) > 0)
		;
	q->u->blob_end += q->seen;
	queue_unpeek(&q->u->peeking);
	if (r != -EOPNOTSUPP)
		return r < 0 ? crcore_fail(err, r, "cannot copy what waits in it: %s", strerror(-r)) : 0;
	crcore_advise(err, "dump when it has been read, or set udp.queued to drop");
	return crcore_fail(err, -ENOTSUP, "a datagram of a link-local sender waits in it, which cannot "
	                   "be put back");
}

/* -- the queue ------------------------------------------------------------- */

int queue_save(struct udp *u, int fd, Udp__Socket *rec, struct crcore_error *err)
{
	struct reader q = { .u = u, .rec = rec, .fd = fd };
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLRDHUP };
	int r;

	if (poll(&p, 1, 0) <= 0)
		return 0;
	rec->shutdown = p.revents & POLLHUP ? 3 : p.revents & POLLRDHUP ? 1 : 0;
	if (p.revents & POLLERR)
		u->host->log(u->ctx, 1, "errors wait to be reported by a %s socket: they are not kept",
		             udp_name(rec->type, rec->protocol));
	if (!(p.revents & POLLIN) || rec->shutdown)
		return 0;
	if (u->queued == QUEUED_DROP) {
		u->host->log(u->ctx, 1, "what waits in a %s socket is dropped (udp.queued)",
		             udp_name(rec->type, rec->protocol));
		return 0;
	}
	if (u->queued == QUEUED_REFUSE || !udp_is_datagram(rec->protocol) || rec->type != SOCK_DGRAM) {
		crcore_advise(err, "dump when it has been read, or set udp.queued to drop");
		return crcore_fail(err, -ENOTSUP, "packets wait in it%s", u->queued == QUEUED_REFUSE ? "" :
		                   ", which cannot be put back into a raw or ping socket");
	}
	r = peek_all(&q, err);
	free(q.buf);
	return r;
}

void queue_free(Udp__Socket *rec)
{
	for (size_t i = 0; i < rec->n_queue; i++)
		free(rec->queue[i]);
	free(rec->queue);
	rec->queue = NULL;
	rec->n_queue = 0;
}
