/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: puts a datagram back into a receive queue. A raw socket sends it,
 * headers and all, to an address of this machine: such a packet goes through
 * the loopback device with its route attached, so it is not asked whether its
 * sender may be where it comes from. It is sent to no address that is not
 * ours: nothing may leave the machine.
 */
#include "udp.h"

#include <ifaddrs.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <time.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif
#define MEMINFO_WORDS 16 /* more than there are */
#define ARRIVES 2000000000u /* ns, until it must have come */
#define BYTES_MAX 65535

union packet {
	struct { struct iphdr ip; struct udphdr udp; char bytes[BYTES_MAX]; } v4;
	struct { struct ip6_hdr ip; struct udphdr udp; char bytes[BYTES_MAX]; } v6;
};

/* -- addresses ------------------------------------------------------------- */

/* What an IPv6 socket has of IPv4 becomes IPv4. */
static union address plain(const ProtobufCBinaryData *from)
{
	union address a = { 0 }, b = { .v4 = { .sin_family = AF_INET } };

	memcpy(&a, from->data, from->len < sizeof(a) ? from->len : sizeof(a));
	if (a.any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr))
		return a;
	b.v4.sin_port = a.v6.sin6_port;
	memcpy(&b.v4.sin_addr, &a.v6.sin6_addr.s6_addr[12], 4);
	return b;
}

static bool same_host(const union address *a, const struct sockaddr *b)
{
	const struct sockaddr_in *v4 = (const void *)b;
	const struct sockaddr_in6 *v6 = (const void *)b;

	if (!b || a->any.sa_family != b->sa_family)
		return false;
	return a->any.sa_family == AF_INET
	               ? a->v4.sin_addr.s_addr == v4->sin_addr.s_addr
	               : !memcmp(&a->v6.sin6_addr, &v6->sin6_addr, sizeof(v6->sin6_addr));
}

static bool is_ours(const union address *a)
{
	struct ifaddrs *all = NULL;
	bool ret = false;

	if (a->any.sa_family == AF_INET && (ntohl(a->v4.sin_addr.s_addr) >> 24) == 127)
		return true;
	if (getifaddrs(&all) < 0)
		return false;
	for (struct ifaddrs *i = all; i && !ret; i = i->ifa_next)
		ret = same_host(a, i->ifa_addr);
	freeifaddrs(all);
	return ret;
}

/* Where the datagram is to be sent, so that this socket gets it. */
static union address target(const struct made *m, const Udp__Message *msg, int family)
{
	union address bound = plain(&m->rec->bound), to = plain(&msg->to), ret = { 0 };

	ret.any.sa_family = (sa_family_t)family;
	if (msg->to.len && to.any.sa_family == family && is_ours(&to))
		ret = to;
	else if (bound.any.sa_family == family && is_ours(&bound))
		ret = bound;
	else if (family == AF_INET)
		ret.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		ret.v6.sin6_addr = in6addr_loopback;
	if (family == AF_INET)
		ret.v4.sin_port = bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port;
	else
		ret.v6.sin6_port = bound.v6.sin6_port;
	return ret;
}

/* -- packets --------------------------------------------------------------- */

static uint32_t sum(uint32_t so_far, const void *at, size_t len)
{
	const uint8_t *p = at;

	for (size_t i = 0; i < len; i++)
		so_far += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return (so_far & 0xffff) + (so_far >> 16);
}

static uint16_t checksum(const void *from, const void *to, size_t address, uint32_t protocol,
                         const void *udp, size_t len)
{
	uint32_t s = sum(sum(0, from, address), to, address) + protocol + (uint32_t)len;

	s = sum((s & 0xffff) + (s >> 16), udp, len);
	s = (s & 0xffff) + (s >> 16);
	s = ~((s & 0xffff) + (s >> 16)) & 0xffff;
	return htons((uint16_t)(s ? s : 0xffff));
}

static void fill_udp(struct udphdr *u, const Udp__Socket *rec, in_port_t from, in_port_t to,
                     size_t len)
{
	u->source = from;
	u->dest = to;
	/* of UDP-Lite: how much the checksum covers, 0 for all */
	u->len = rec->protocol == IPPROTO_UDPLITE ? 0 : htons((uint16_t)(sizeof(*u) + len));
	u->check = 0;
}

static ssize_t send_v4(int raw, union packet *p, const Udp__Socket *rec, const Udp__Message *msg,
                       const union address *from, const union address *to)
{
	size_t len = sizeof(struct udphdr) + msg->length, all = sizeof(struct iphdr) + len;

	p->v4.ip = (struct iphdr){ .version = 4, .ihl = 5, .tos = (uint8_t)msg->tos,
		.ttl = (uint8_t)(msg->ttl ? msg->ttl : 1), .protocol = (uint8_t)rec->protocol,
		.saddr = from->v4.sin_addr.s_addr, .daddr = to->v4.sin_addr.s_addr };
	p->v4.ip.tot_len = htons((uint16_t)all);
	fill_udp(&p->v4.udp, rec, from->v4.sin_port, to->v4.sin_port, msg->length);
	p->v4.udp.check = checksum(&p->v4.ip.saddr, &p->v4.ip.daddr, 4, rec->protocol, &p->v4.udp, len);
	return sendto(raw, p, all, 0, &to->any, sizeof(to->v4));
}

static ssize_t send_v6(int raw, union packet *p, const Udp__Socket *rec, const Udp__Message *msg,
                       const union address *from, const union address *to)
{
	size_t len = sizeof(struct udphdr) + msg->length;
	struct sockaddr_in6 host = { .sin6_family = AF_INET6, .sin6_addr = to->v6.sin6_addr };

	p->v6.ip = (struct ip6_hdr){ .ip6_src = from->v6.sin6_addr, .ip6_dst = to->v6.sin6_addr };
	p->v6.ip.ip6_flow = htonl(6u << 28 | msg->tos << 20);
	p->v6.ip.ip6_plen = htons((uint16_t)len);
	p->v6.ip.ip6_nxt = (uint8_t)rec->protocol;
	p->v6.ip.ip6_hlim = (uint8_t)(msg->ttl ? msg->ttl : 1);
	fill_udp(&p->v6.udp, rec, from->v6.sin6_port, to->v6.sin6_port, msg->length);
	p->v6.udp.check = checksum(&p->v6.ip.ip6_src, &p->v6.ip.ip6_dst, 16, rec->protocol, &p->v6.udp,
	                           len);
	return sendto(raw, p, sizeof(p->v6.ip) + len, 0, (struct sockaddr *)&host, sizeof(host));
}

static int raw_socket(struct udp *u, int family)
{
	int *fd = family == AF_INET ? &u->raw4 : &u->raw6;

	if (*fd < 0)
		*fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	return *fd;
}

/* -- one datagram, and whether it came ------------------------------------- */

static uint32_t memory_of(int fd)
{
	uint32_t words[MEMINFO_WORDS] = { 0 };
	socklen_t len = sizeof(words);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, words, &len) < 0 ? 0 : words[0];
}

static bool await(int fd, uint32_t before)
{
	const struct timespec pause = { .tv_nsec = 50000 };
	uint64_t until = now_ns() + ARRIVES;

	while (memory_of(fd) <= before) {
		if (now_ns() > until)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int inject(struct udp *u, const struct made *m, const Udp__Message *msg, union packet *p,
                  const char *bytes, struct crcore_error *err)
{
	union address from = plain(&msg->from), to = target(m, msg, from.any.sa_family);
	bool v4 = from.any.sa_family == AF_INET;
	int raw = raw_socket(u, from.any.sa_family);
	uint32_t before = memory_of(m->fd);
	ssize_t n = -1;

	memcpy(v4 ? p->v4.bytes : p->v6.bytes, bytes, msg->length);
	if (raw >= 0)
		n = v4 ? send_v4(raw, p, m->rec, msg, &from, &to) :
		         send_v6(raw, p, m->rec, msg, &from, &to);
	if (n < 0)
		return crcore_fail(err, -errno, "cannot put a datagram back: %s", strerror(errno));
	if (await(m->fd, before))
		return 0;
	crcore_advise(err, "is the interface lo up, does a packet filter drop what comes through it? "
	              "Or dump with udp.queued set to drop");
	return crcore_fail(err, -EIO, "a datagram that was put back did not arrive");
}

/* -- the queue ------------------------------------------------------------- */

static bool shares_port(const struct udp *u, const struct made *m)
{
	union address mine = plain(&m->rec->bound);

	for (unsigned i = 0; i < u->nmade; i++) {
		const Udp__Socket *rec = u->made[i]->rec;
		union address his = plain(&rec->bound);
		if (u->made[i] != m && rec->protocol == m->rec->protocol && rec->bound.len &&
		    his.v4.sin_port == mine.v4.sin_port) /* at the same place in both */
			return true;
	}
	return false;
}

/* One that is connected to the sender is preferred to all others at the port. */
static void prefer(const struct made *m, const Udp__Message *msg, bool shared)
{
	const Udp__Socket *rec = m->rec;
	bool is_peer = rec->peer.len == msg->from.len &&
	               !memcmp(rec->peer.data, msg->from.data, rec->peer.len);

	if (!is_peer && (shared || rec->peer.len))
		connect(m->fd, (struct sockaddr *)(void *)msg->from.data, (socklen_t)msg->from.len);
}

int inject_queue(struct udp *u, const struct made *m, struct crcore_error *err)
{
	cleanup_free union packet *p = malloc(sizeof(*p));
	cleanup_free char *bytes = malloc(BYTES_MAX);
	int blob = u->host->blob(u->ctx, "socket", err), r = 0;
	bool shared = shares_port(u, m);
	off_t at = (off_t)m->rec->blob;

	if (blob < 0)
		return blob;
	if (!p || !bytes)
		return crcore_no_memory(err);
	for (size_t i = 0; !r && i < m->rec->n_queue; i++) {
		const Udp__Message *msg = m->rec->queue[i];
		if (pread(blob, bytes, msg->length, at) != (ssize_t)msg->length)
			return crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
		at += msg->length;
		prefer(m, msg, shared);
		r = inject(u, m, msg, p, bytes, err);
	}
	if (!r && shared && !m->rec->peer.len) {
		struct sockaddr none = { .sa_family = AF_UNSPEC };
		connect(m->fd, &none, sizeof(none));
	}
	return r;
}
