/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what a peer has said already and repair mode cannot repeat: its FIN,
 * its acknowledgement of ours, a reset, urgent data. A segment as from the peer is given to
 * our own address, so it never leaves the machine; its mark lets it pass the
 * network lock.
 */
#include "plugins/tcp/tcp.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>

#define HEADER 20

struct segment { /* of TCP, without options */
	uint16_t source, dest;
	uint32_t seq, ack;
	uint8_t offset, flags;
	uint16_t window, sum, urgent;
	uint8_t byte, pad;
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct segment) == HEADER + 4, "struct segment");

static uint32_t add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* How long it is. */
static size_t fill(struct segment *s, const struct end *from, const struct end *to,
                   const struct said *what)
{
	bool v4 = end_is_v4(to);
	size_t len = v4 ? 4 : 16, all = HEADER + (what->flags & SEG_URG ? 1 : 0);
	uint32_t sum = IPPROTO_TCP + (uint32_t)all;

	/* An urgent pointer of 0 means this very byte, by either reading of the standard. */
	*s = (struct segment){ .source = htons(from->port), .dest = htons(to->port),
		.seq = htonl(what->seq), .ack = htonl(what->ack), .offset = HEADER / 4 << 4,
		.flags = what->flags, .window = 0xffff, .byte = what->flags & SEG_URG ? what->byte : 0 };
	sum = add(sum, v4 ? end_v4(from) : from->ip, len);
	sum = add(sum, v4 ? end_v4(to) : to->ip, len);
	s->sum = fold(add(sum, s, HEADER + 2));
	return all;
}

static int open_raw(struct tcp *t, bool v4)
{
	int *fd = &t->raw[v4], r;

	if (*fd >= 0)
		return *fd;
	*fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (*fd < 0)
		return -errno;
	r = set_int(*fd, SOL_SOCKET, SO_MARK, (int)LOCK_MARK);
	if (r < 0)
		close_fd(fd);
	return r < 0 ? r : *fd;
}

int inject(struct tcp *t, const struct end *from, const struct end *to, const struct said *what)
{
	struct { struct ip ip; struct segment s; } p4;
	struct { struct ip6_hdr ip; struct segment s; } p6;
	struct sockaddr_storage ss;
	struct end dest = *to;
	bool v4 = end_is_v4(to);
	int fd = open_raw(t, v4);
	size_t len;
	ssize_t n;

	if (fd < 0)
		return fd;
	dest.port = 0;
	if (v4) {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;
		*in = (struct sockaddr_in){ .sin_family = AF_INET };
		memcpy(&in->sin_addr, end_v4(to), 4);
		len = sizeof(p4.ip) + fill(&p4.s, from, to, what);
		p4.ip = (struct ip){ .ip_hl = 5, .ip_v = 4, .ip_len = htons((uint16_t)len), .ip_ttl = 255,
			.ip_p = IPPROTO_TCP, .ip_dst = in->sin_addr };
		memcpy(&p4.ip.ip_src, end_v4(from), 4);
		n = sendto(fd, &p4, len, 0, (struct sockaddr *)in, sizeof(*in));
		return n == (ssize_t)len ? 0 : -errno;
	}
	len = fill(&p6.s, from, to, what);
	p6.ip = (struct ip6_hdr){ .ip6_flow = htonl(6u << 28), .ip6_plen = htons((uint16_t)len),
		.ip6_nxt = IPPROTO_TCP, .ip6_hlim = 255 };
	memcpy(&p6.ip.ip6_src, from->ip, 16);
	memcpy(&p6.ip.ip6_dst, to->ip, 16);
	len += sizeof(p6.ip);
	n = sendto(fd, &p6, len, 0, (struct sockaddr *)&ss, end_to(&dest, &ss));
	return n == (ssize_t)len ? 0 : -errno;
}
