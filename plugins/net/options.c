/* SPDX-License-Identifier: Apache-2.0 */
/* The table of socket options, and reading and setting by it. See options.h. */
#include "plugins/net/options.h"
#include "plugins/net/learn.h"
#include "plugins/util.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET SOL_SOCKET
#define IP 0
#define IPV6 41
#define TCP 6
#define UDP 17
#define ICMPV6 58
#define RAW 255
#define PACKET 263
#define NETLINK 270
#define BUF_LOCK 72 /* SO_BUF_LOCK */

/* By number: the headers of the C library know fewer of them than the kernel. */
static const struct known {
	short level, number;
	unsigned char when;
	const char *name;
} known[] = {
	{ SOCKET, 1, NET_EARLY, "SO_DEBUG" },
	{ SOCKET, 2, NET_BOTH, "SO_REUSEADDR" }, /* TCP_REPAIR takes it away */
	{ SOCKET, 5, NET_EARLY, "SO_DONTROUTE" },
	{ SOCKET, 6, NET_EARLY, "SO_BROADCAST" },
	{ SOCKET, 9, NET_LATE, "SO_KEEPALIVE" }, /* starts the timer of a connection */
	{ SOCKET, 10, NET_LATE, "SO_OOBINLINE" }, /* whether urgent data can be taken out */
	{ SOCKET, 11, NET_EARLY, "SO_NO_CHECK" },
	{ SOCKET, 12, NET_LATE, "SO_PRIORITY" }, /* follows IP_TOS */
	{ SOCKET, 13, NET_LATE, "SO_LINGER" },
	{ SOCKET, 15, NET_EARLY, "SO_REUSEPORT" },
	{ SOCKET, 16, NET_LATE, "SO_PASSCRED" },
	{ SOCKET, 18, NET_LATE, "SO_RCVLOWAT" },
	{ SOCKET, 25, NET_EARLY, "SO_BINDTODEVICE" },
	{ SOCKET, 29, NET_LATE, "SO_TIMESTAMP_OLD" },
	{ SOCKET, 34, NET_EARLY, "SO_PASSSEC" },
	{ SOCKET, 35, NET_LATE, "SO_TIMESTAMPNS_OLD" },
	{ SOCKET, 36, NET_EARLY, "SO_MARK" },
	{ SOCKET, 37, NET_LATE, "SO_TIMESTAMPING_OLD" },
	{ SOCKET, 40, NET_EARLY, "SO_RXQ_OVFL" },
	{ SOCKET, 41, NET_EARLY, "SO_WIFI_STATUS" },
	{ SOCKET, 42, NET_LATE, "SO_PEEK_OFF" },
	{ SOCKET, 43, NET_EARLY, "SO_NOFCS" },
	{ SOCKET, 45, NET_EARLY, "SO_SELECT_ERR_QUEUE" },
	{ SOCKET, 46, NET_EARLY, "SO_BUSY_POLL" },
	{ SOCKET, 47, NET_LATE, "SO_MAX_PACING_RATE" },
	{ SOCKET, 60, NET_EARLY, "SO_ZEROCOPY" },
	{ SOCKET, 61, NET_EARLY, "SO_TXTIME" },
	{ SOCKET, 63, NET_LATE, "SO_TIMESTAMP_NEW" },
	{ SOCKET, 64, NET_LATE, "SO_TIMESTAMPNS_NEW" },
	{ SOCKET, 65, NET_LATE, "SO_TIMESTAMPING_NEW" },
	{ SOCKET, 66, NET_EARLY, "SO_RCVTIMEO_NEW" },
	{ SOCKET, 67, NET_EARLY, "SO_SNDTIMEO_NEW" },
	{ SOCKET, 69, NET_EARLY, "SO_PREFER_BUSY_POLL" },
	{ SOCKET, 70, NET_EARLY, "SO_BUSY_POLL_BUDGET" },
	{ SOCKET, 73, NET_EARLY, "SO_RESERVE_MEM" },
	{ SOCKET, 74, NET_EARLY, "SO_TXREHASH" },
	{ SOCKET, 75, NET_EARLY, "SO_RCVMARK" },
	{ SOCKET, 76, NET_EARLY, "SO_PASSPIDFD" },
	{ SOCKET, 82, NET_EARLY, "SO_RCVPRIORITY" },
	{ SOCKET, 83, NET_EARLY, "SO_PASSRIGHTS" },
	{ IP, 1, NET_EARLY, "IP_TOS" },
	{ IP, 2, NET_EARLY, "IP_TTL" },
	{ IP, 3, NET_EARLY, "IP_HDRINCL" },
	{ IP, 4, NET_EARLY, "IP_OPTIONS" },
	{ IP, 5, NET_EARLY, "IP_ROUTER_ALERT" },
	{ IP, 6, NET_EARLY, "IP_RECVOPTS" },
	{ IP, 7, NET_EARLY, "IP_RETOPTS" },
	{ IP, 8, NET_EARLY, "IP_PKTINFO" },
	{ IP, 10, NET_EARLY, "IP_MTU_DISCOVER" },
	{ IP, 11, NET_EARLY, "IP_RECVERR" },
	{ IP, 12, NET_EARLY, "IP_RECVTTL" },
	{ IP, 13, NET_EARLY, "IP_RECVTOS" },
	{ IP, 15, NET_EARLY, "IP_FREEBIND" },
	{ IP, 18, NET_EARLY, "IP_PASSSEC" },
	{ IP, 19, NET_EARLY, "IP_TRANSPARENT" },
	{ IP, 20, NET_EARLY, "IP_RECVORIGDSTADDR" },
	{ IP, 21, NET_EARLY, "IP_MINTTL" },
	{ IP, 22, NET_EARLY, "IP_NODEFRAG" },
	{ IP, 23, NET_EARLY, "IP_CHECKSUM" },
	{ IP, 24, NET_EARLY, "IP_BIND_ADDRESS_NO_PORT" },
	{ IP, 25, NET_EARLY, "IP_RECVFRAGSIZE" },
	{ IP, 26, NET_EARLY, "IP_RECVERR_RFC4884" },
	{ IP, 32, NET_EARLY, "IP_MULTICAST_IF" },
	{ IP, 33, NET_EARLY, "IP_MULTICAST_TTL" },
	{ IP, 34, NET_EARLY, "IP_MULTICAST_LOOP" },
	{ IP, 49, NET_EARLY, "IP_MULTICAST_ALL" },
	{ IP, 50, NET_EARLY, "IP_UNICAST_IF" },
	{ IP, 51, NET_EARLY, "IP_LOCAL_PORT_RANGE" },
	{ IPV6, 2, NET_EARLY, "IPV6_2292PKTINFO" },
	{ IPV6, 3, NET_EARLY, "IPV6_2292HOPOPTS" },
	{ IPV6, 4, NET_EARLY, "IPV6_2292DSTOPTS" },
	{ IPV6, 5, NET_EARLY, "IPV6_2292RTHDR" },
	{ IPV6, 7, NET_EARLY, "IPV6_CHECKSUM" },
	{ IPV6, 8, NET_EARLY, "IPV6_2292HOPLIMIT" },
	{ IPV6, 11, NET_EARLY, "IPV6_FLOWINFO" },
	{ IPV6, 16, NET_EARLY, "IPV6_UNICAST_HOPS" },
	{ IPV6, 17, NET_EARLY, "IPV6_MULTICAST_IF" },
	{ IPV6, 18, NET_EARLY, "IPV6_MULTICAST_HOPS" },
	{ IPV6, 19, NET_EARLY, "IPV6_MULTICAST_LOOP" },
	{ IPV6, 23, NET_EARLY, "IPV6_MTU_DISCOVER" },
	{ IPV6, 25, NET_EARLY, "IPV6_RECVERR" },
	{ IPV6, 26, NET_EARLY, "IPV6_V6ONLY" },
	{ IPV6, 29, NET_EARLY, "IPV6_MULTICAST_ALL" },
	{ IPV6, 30, NET_EARLY, "IPV6_ROUTER_ALERT_ISOLATE" },
	{ IPV6, 31, NET_EARLY, "IPV6_RECVERR_RFC4884" },
	{ IPV6, 33, NET_EARLY, "IPV6_FLOWINFO_SEND" },
	{ IPV6, 36, NET_EARLY, "IPV6_HDRINCL" },
	{ IPV6, 49, NET_EARLY, "IPV6_RECVPKTINFO" },
	{ IPV6, 51, NET_EARLY, "IPV6_RECVHOPLIMIT" },
	{ IPV6, 53, NET_EARLY, "IPV6_RECVHOPOPTS" },
	{ IPV6, 54, NET_EARLY, "IPV6_HOPOPTS" },
	{ IPV6, 55, NET_EARLY, "IPV6_RTHDRDSTOPTS" },
	{ IPV6, 56, NET_EARLY, "IPV6_RECVRTHDR" },
	{ IPV6, 57, NET_EARLY, "IPV6_RTHDR" },
	{ IPV6, 58, NET_EARLY, "IPV6_RECVDSTOPTS" },
	{ IPV6, 59, NET_EARLY, "IPV6_DSTOPTS" },
	{ IPV6, 60, NET_EARLY, "IPV6_RECVPATHMTU" },
	{ IPV6, 62, NET_EARLY, "IPV6_DONTFRAG" },
	{ IPV6, 66, NET_EARLY, "IPV6_RECVTCLASS" },
	{ IPV6, 67, NET_EARLY, "IPV6_TCLASS" },
	{ IPV6, 70, NET_EARLY, "IPV6_AUTOFLOWLABEL" },
	{ IPV6, 72, NET_EARLY, "IPV6_ADDR_PREFERENCES" },
	{ IPV6, 73, NET_EARLY, "IPV6_MINHOPCOUNT" },
	{ IPV6, 74, NET_EARLY, "IPV6_RECVORIGDSTADDR" },
	{ IPV6, 75, NET_EARLY, "IPV6_TRANSPARENT" },
	{ IPV6, 76, NET_EARLY, "IPV6_UNICAST_IF" },
	{ IPV6, 77, NET_EARLY, "IPV6_RECVFRAGSIZE" },
	{ IPV6, 78, NET_EARLY, "IPV6_FREEBIND" },
	{ TCP, 1, NET_LATE, "TCP_NODELAY" },
	{ TCP, 3, NET_EARLY, "TCP_CORK" },
	{ TCP, 4, NET_EARLY, "TCP_KEEPIDLE" },
	{ TCP, 5, NET_EARLY, "TCP_KEEPINTVL" },
	{ TCP, 6, NET_EARLY, "TCP_KEEPCNT" },
	{ TCP, 7, NET_EARLY, "TCP_SYNCNT" },
	{ TCP, 8, NET_EARLY, "TCP_LINGER2" },
	{ TCP, 9, NET_EARLY, "TCP_DEFER_ACCEPT" },
	{ TCP, 10, NET_LATE, "TCP_WINDOW_CLAMP" },
	{ TCP, 13, NET_EARLY, "TCP_CONGESTION" },
	{ TCP, 16, NET_EARLY, "TCP_THIN_LINEAR_TIMEOUTS" },
	{ TCP, 18, NET_EARLY, "TCP_USER_TIMEOUT" },
	{ TCP, 23, NET_EARLY, "TCP_FASTOPEN" },
	{ TCP, 25, NET_EARLY, "TCP_NOTSENT_LOWAT" },
	{ TCP, 27, NET_EARLY, "TCP_SAVE_SYN" },
	{ TCP, 30, NET_EARLY, "TCP_FASTOPEN_CONNECT" },
	{ TCP, 34, NET_EARLY, "TCP_FASTOPEN_NO_COOKIE" },
	{ TCP, 36, NET_EARLY, "TCP_INQ" },
	{ TCP, 37, NET_EARLY, "TCP_TX_DELAY" },
	{ TCP, 44, NET_EARLY, "TCP_RTO_MAX_MS" },
	{ TCP, 45, NET_EARLY, "TCP_RTO_MIN_US" },
	{ TCP, 46, NET_EARLY, "TCP_DELACK_MAX_US" },
	{ UDP, 1, NET_LATE, "UDP_CORK" },
	{ UDP, 10, NET_EARLY, "UDPLITE_SEND_CSCOV" },
	{ UDP, 11, NET_LATE, "UDPLITE_RECV_CSCOV" },
	{ UDP, 100, NET_EARLY, "UDP_ENCAP" },
	{ UDP, 101, NET_EARLY, "UDP_NO_CHECK6_TX" },
	{ UDP, 102, NET_EARLY, "UDP_NO_CHECK6_RX" },
	{ UDP, 103, NET_EARLY, "UDP_SEGMENT" },
	{ UDP, 104, NET_EARLY, "UDP_GRO" },
	{ ICMPV6, 1, NET_LATE, "ICMPV6_FILTER" },
	{ RAW, 1, NET_LATE, "ICMP_FILTER" },
	{ PACKET, 8, NET_EARLY, "PACKET_AUXDATA" },
	{ PACKET, 9, NET_EARLY, "PACKET_ORIGDEV" },
	{ PACKET, 10, NET_EARLY, "PACKET_VERSION" },
	{ PACKET, 12, NET_EARLY, "PACKET_RESERVE" },
	{ PACKET, 14, NET_EARLY, "PACKET_LOSS" },
	{ PACKET, 15, NET_EARLY, "PACKET_VNET_HDR" },
	{ PACKET, 17, NET_EARLY, "PACKET_TIMESTAMP" },
	{ PACKET, 19, NET_EARLY, "PACKET_TX_HAS_OFF" },
	{ PACKET, 20, NET_EARLY, "PACKET_QDISC_BYPASS" },
	{ PACKET, 23, NET_EARLY, "PACKET_IGNORE_OUTGOING" },
	{ PACKET, 24, NET_EARLY, "PACKET_VNET_HDR_SZ" },
	{ NETLINK, 3, NET_EARLY, "NETLINK_PKTINFO" },
	{ NETLINK, 4, NET_EARLY, "NETLINK_BROADCAST_ERROR" },
	{ NETLINK, 5, NET_EARLY, "NETLINK_NO_ENOBUFS" },
	{ NETLINK, 8, NET_EARLY, "NETLINK_LISTEN_ALL_NSID" },
	{ NETLINK, 10, NET_EARLY, "NETLINK_CAP_ACK" },
	{ NETLINK, 11, NET_EARLY, "NETLINK_EXT_ACK" },
	{ NETLINK, 12, NET_EARLY, "NETLINK_GET_STRICT_CHK" },
};
#define KNOWN (sizeof(known) / sizeof(*known))

struct net_sort {
	struct net_sort *next;
	int family, type, protocol;
	bool has[KNOWN];
	struct net_value value[KNOWN];
	struct learned *learned;       /* or NULL */
	bool tried;                    /* to learn */
};

static const struct known *find(int level, int number)
{
	for (unsigned i = 0; i < KNOWN; i++)
		if (known[i].level == level && known[i].number == number)
			return &known[i];
	return NULL;
}

unsigned net_option_when(int level, int number)
{
	const struct known *k = find(level, number);

	return k ? k->when : 0;
}

const char *net_option_name(int level, int number, char buf[40])
{
	const struct known *k = find(level, number);

	if (k)
		return k->name;
	snprintf(buf, 40, "option %d of level %d", number, level);
	return buf;
}

/* -- reading ----------------------------------------------------------------------- */

static bool get(int fd, const struct known *k, struct net_value *ret)
{
	socklen_t len = sizeof(ret->data);

	if (getsockopt(fd, k->level, k->number, ret->data, &len) < 0 || len > sizeof(ret->data))
		return false;
	ret->level = k->level;
	ret->number = k->number;
	ret->len = len;
	return true;
}

/* Some can be read from sockets of all sorts, and set only for some. ENOBUFS: IP_ROUTER_ALERT
 * cannot be taken away where it is not. */
static bool settable(int fd, const struct known *k, const struct net_value *v)
{
	return setsockopt(fd, k->level, k->number, v->data, v->len) == 0 || errno == ENOBUFS;
}

/* Values of a new socket; the levels that do not concern it are left out. */
static struct net_sort *look(int family, int type, int protocol)
{
	struct net_sort *s = calloc(1, sizeof(*s));
	int fresh = s ? socket(family, type | SOCK_CLOEXEC, protocol) : -1;
	bool ip = family == AF_INET || family == AF_INET6;

	for (unsigned i = 0; fresh >= 0 && i < KNOWN; i++) {
		int level = known[i].level;
		if ((level == IP && !ip) || (level == IPV6 && family != AF_INET6) ||
		    (level == TCP && (!ip || type != SOCK_STREAM)) ||
		    (level == UDP && (!ip || type != SOCK_DGRAM)) ||
		    ((level == RAW || level == ICMPV6) && (!ip || type != SOCK_RAW)) ||
		    (level == PACKET && family != AF_PACKET) || (level == NETLINK && family != AF_NETLINK))
			continue;
		s->has[i] = get(fresh, &known[i], &s->value[i]) &&
		            settable(fresh, &known[i], &s->value[i]);
		if (!s->has[i])
			s->value[i].len = 0;
	}
	if (fresh >= 0) {
		close(fresh);
		s->family = family;
		s->type = type;
		s->protocol = protocol;
		return s;
	}
	free(s);
	return NULL;
}

static struct net_sort *usual(struct net_usual *u, int family, int type, int protocol)
{
	struct net_sort *s = u->sorts;

	while (s && (s->family != family || s->type != type || s->protocol != protocol))
		s = s->next;
	if (s)
		return s;
	s = look(family, type, protocol);
	if (s) {
		s->next = u->sorts;
		u->sorts = s;
	}
	return s;
}

void net_options_many(struct net_usual *u, int family, int type, int protocol)
{
	struct net_sort *s = usual(u, family, type, protocol);

	if (!s || s->tried)
		return;
	s->tried = true;
	if (!u->inside && !u->blind)
		u->blind = inside_open(&u->inside) < 0;
	if (u->inside)
		s->learned = learn_options(u->inside, family, type, protocol, s->value, KNOWN);
}

int net_options_read(struct net_usual *u, int fd, int family, int type, int protocol,
                     struct net_value **ret, unsigned *ret_n)
{
	const struct net_sort *s = usual(u, family, type, protocol);
	uint32_t words[INSIDE_WORDS];
	struct net_value v[KNOWN];
	unsigned n = 0;
	int nwords;

	*ret = NULL;
	*ret_n = 0;
	if (!s)
		return errno ? -errno : -ENOMEM;
	nwords = s->learned ? inside_read(u->inside, fd, words) : 0;
	for (unsigned i = 0; i < KNOWN; i++) {
		const struct net_value *new = &s->value[i];
		if (!s->has[i] || (nwords > 0 && learned_usual(s->learned, i, words, nwords)))
			continue;
		if (get(fd, &known[i], &v[n]) &&
		    (v[n].len != new->len || memcmp(v[n].data, new->data, new->len)))
			n++;
	}
	if (!n)
		return 0;
	*ret = malloc(n * sizeof(*v)); /* of thousands of sockets: no more than it takes */
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, v, n * sizeof(*v));
	*ret_n = n;
	return 0;
}

void net_usual_free(struct net_usual *u)
{
	while (u->sorts) {
		struct net_sort *s = u->sorts;
		u->sorts = s->next;
		free(s->learned);
		free(s);
	}
	inside_close(u->inside);
	u->inside = NULL;
}

/* -- setting --------------------------------------------------------------------------- */

static uint32_t word(int fd, int option)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? 0 : value;
}

void net_buffers_read(int fd, struct net_buffers *ret)
{
	ret->send = word(fd, SO_SNDBUF);
	ret->receive = word(fd, SO_RCVBUF);
	ret->lock = word(fd, BUF_LOCK);
}

static int set_buffer(int fd, bool send, uint32_t bytes)
{
	int half = (int)(bytes / 2), option = send ? SO_SNDBUF : SO_RCVBUF;

	if (word(fd, option) == bytes)
		return 0;
	int forced = send ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
	if (setsockopt(fd, SOL_SOCKET, forced, &half, sizeof(half)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, option, &half, sizeof(half)) < 0)
		return -errno;
	return 0;
}

int net_buffers_set(int fd, const struct net_buffers *b)
{
	int r = set_buffer(fd, true, b->send);

	if (!r)
		r = set_buffer(fd, false, b->receive);
	if (!r && word(fd, BUF_LOCK) != b->lock)
		setsockopt(fd, SOL_SOCKET, BUF_LOCK, &b->lock, sizeof(b->lock)); /* not on older kernels */
	return r;
}

int net_buffer_room(int fd, bool send, uint32_t bytes)
{
	if (bytes > INT_MAX / 2)
		bytes = INT_MAX / 2;
	return word(fd, send ? SO_SNDBUF : SO_RCVBUF) >= bytes ? 0 : set_buffer(fd, send, bytes);
}
