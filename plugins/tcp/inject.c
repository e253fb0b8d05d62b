/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what a peer has said already and repair mode cannot repeat: its FIN,
 * its acknowledgement of ours, a reset, urgent data. A segment as from the peer is given to
 * our own address, so it never leaves the machine; its mark lets it pass the
 * network lock.
 */
#include "plugins/tcp/inject.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>

#define HEADER 20

struct segment { /* of TCP, without options */
	uint16_t source, dest;
	uint32_t seq, ack;
	uint8_t offset, flags;
	uint16_t window, sum, urgent;
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct segment) == HEADER, "struct segment");

static uint32_t add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return len & 1 ? sum + ((uint32_t)p[len - 1] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void fill(struct segment *s, const struct end *from, const struct end *to,
                 const struct said *what)
{
	bool v4 = end_is_v4(to);
	size_t len = v4 ? 4 : 16;
	uint32_t sum = IPPROTO_TCP + HEADER + (uint32_t)what->len;

	/* An urgent pointer of 0 means the first byte, by either reading of the standard. */
	*s = (struct segment){ .source = htons(from->port), .dest = htons(to->port),
		.seq = htonl(what->seq), .ack = htonl(what->ack), .offset = HEADER / 4 << 4,
		.flags = what->flags, .window = htons(what->window) };
	sum = add(sum, v4 ? end_v4(from) : from->ip, len);
	sum = add(sum, v4 ? end_v4(to) : to->ip, len);
	sum = add(sum, s, HEADER);
	s->sum = fold(add(sum, what->data, what->len));
}

int inject_open(bool v4)
{
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), r;

	if (fd < 0)
		return -errno;
	r = set_int(fd, SOL_SOCKET, SO_MARK, (int)LOCK_MARK);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

int inject_by(int fd, const struct end *from, const struct end *to, const struct said *what)
{
	const size_t all = HEADER + what->len;
	struct ip ip4;
	struct ip6_hdr ip6;
	struct segment s;
	struct sockaddr_storage ss;
	struct iovec io[3] = { { &ip4, sizeof(ip4) }, { &s, HEADER },
		{ (void *)(uintptr_t)what->data, what->len } };
	struct msghdr h = { .msg_name = &ss, .msg_iov = io, .msg_iovlen = 3 };
	struct end dest = *to;

	dest.port = 0;
	fill(&s, from, to, what);
	if (end_is_v4(to)) {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;
		*in = (struct sockaddr_in){ .sin_family = AF_INET };
		memcpy(&in->sin_addr, end_v4(to), 4);
		h.msg_namelen = sizeof(*in);
		ip4 = (struct ip){ .ip_hl = 5, .ip_v = 4, .ip_len = htons((uint16_t)(sizeof(ip4) + all)),
			.ip_ttl = 255, .ip_p = IPPROTO_TCP, .ip_dst = in->sin_addr };
		memcpy(&ip4.ip_src, end_v4(from), 4);
	} else {
		h.msg_namelen = end_to(&dest, &ss);
		io[0] = (struct iovec){ &ip6, sizeof(ip6) };
		ip6 = (struct ip6_hdr){ .ip6_flow = htonl(6u << 28), .ip6_plen = htons((uint16_t)all),
			.ip6_nxt = IPPROTO_TCP, .ip6_hlim = 255 };
		memcpy(&ip6.ip6_src, from->ip, 16);
		memcpy(&ip6.ip6_dst, to->ip, 16);
	}
	return sendmsg(fd, &h, 0) < 0 ? -errno : 0;
}

int inject(struct tcp *t, const struct end *from, const struct end *to, const struct said *what)
{
	int *fd = &t->raw[end_is_v4(to)];

	if (*fd < 0)
		*fd = inject_open(end_is_v4(to));
	return *fd < 0 ? *fd : inject_by(*fd, from, to, what);
}
