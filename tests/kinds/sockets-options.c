/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of sockets of every sort, by no list: each number of each level is
 * read; those that can be set to another value are; and all must read the same
 * afterwards. Only what shows a state that passes is left out, by name.
 */
#include "kind.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define LEVELS 10
#define NUMBERS 128
#define SIZE 64
static const int levels[LEVELS] = { SOL_SOCKET, SOL_IP, SOL_IPV6, 6, 17, 136, 255, 58, SOL_NETLINK,
	SOL_PACKET };

static const struct sort {
	const char *name;
	int family, type, protocol;
} sorts[] = {
	{ "UNIX stream", AF_UNIX, SOCK_STREAM, 0 }, { "UNIX datagram", AF_UNIX, SOCK_DGRAM, 0 },
	{ "TCP", AF_INET, SOCK_STREAM, 0 }, { "TCP of IPv6", AF_INET6, SOCK_STREAM, 0 },
	{ "UDP", AF_INET, SOCK_DGRAM, 0 }, { "UDP of IPv6", AF_INET6, SOCK_DGRAM, 0 },
	{ "UDP-Lite", AF_INET, SOCK_DGRAM, 136 }, { "raw", AF_INET, SOCK_RAW, 253 },
	{ "raw of IPv6", AF_INET6, SOCK_RAW, 253 }, { "netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE },
	{ "packet", AF_PACKET, SOCK_RAW, 0 },
};
#define SORTS (sizeof(sorts) / sizeof(*sorts))

static struct value {
	socklen_t len; /* 0: there is none */
	char at[SIZE];
} before[SORTS][LEVELS][NUMBERS];

/* What is no setting: states, keys, and what a look changes; and what cannot be set again. */
static bool passes(int level, int number)
{
	if (level == SOL_SOCKET)
		return number == SO_ERROR || number == 55 /* SO_MEMINFO */ || number == 56 /* SO_INCOMING_NAPI_ID */ ||
		       number == 57 /* SO_COOKIE */ || number == SO_INCOMING_CPU || number == SO_PEERCRED ||
		       number == 77 /* SO_PEERPIDFD */ || number == SO_PEERNAME || number == SO_CNX_ADVICE;
	if (level == 6) /* TCP_INFO, TCP_CC_INFO, TCP_TIMESTAMP; TCP_ULP and TCP_MD5SIG make it another socket */
		return number == 11 || number == 12 /* TCP_QUICKACK */ || number == 26 || number == 24 || number == 31 || number == 14 ||
		       (number >= 19 && number <= 22) || number == 29 || number == 35;
	if (level == SOL_PACKET) /* statistics, sizes, rings, groups */
		return (number >= 4 && number <= 7) || number == 11 || number == 13 || number == 18 ||
		       number == 21 || number == 22;
	if (level == SOL_IP) /* IP_MTU, IP_PKTOPTIONS, groups */
		return number == IP_MTU || number == IP_PKTOPTIONS || number >= 64;
	if (level == SOL_IPV6) /* IPV6_ADDRFORM, IPV6_MTU, groups, netfilter */
		return number == 1 || number == 24 || number == 32 || number == 6 ||
		       (number >= 64 && number != IPV6_TCLASS && number < 70) || number > 78;
	return false;
}

/* Numbers that mean nothing to such a socket, though it takes and tells them. */
static bool is_void(const struct sort *s, int level, int number)
{
	return s->type == SOCK_STREAM && level == SOL_SOCKET && number == SO_LOCK_FILTER;
}

static bool get(int fd, int level, int number, struct value *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->len = SIZE;
	if (getsockopt(fd, level, number, ret->at, &ret->len) < 0)
		ret->len = 0;
	return ret->len > 0;
}

/* Another value, if it takes one and tells it again. */
static void change(int fd, int level, int number, const struct value *old)
{
	int v = 0, values[3];

	if (old->len != sizeof(v) && old->len != 2 * sizeof(v))
		return;
	memcpy(&v, old->at, sizeof(v));
	values[0] = !v, values[1] = v + 1, values[2] = v / 2;
	for (unsigned i = 0; i < 3; i++) {
		struct value now = *old;
		memcpy(now.at, &values[i], sizeof(v)); /* of two numbers the first */
		if (setsockopt(fd, level, number, now.at, now.len) == 0 && get(fd, level, number, &now) &&
		    memcmp(now.at, old->at, old->len))
			return;
	}
}

static void each(unsigned sort, int fd, void (*fn)(unsigned sort, int fd, unsigned level, int number))
{
	for (unsigned l = 0; l < LEVELS; l++)
		for (int number = 1; number < NUMBERS; number++)
			if (!passes(levels[l], number) && !is_void(&sorts[sort], levels[l], number))
				fn(sort, fd, l, number);
}

static void set_up(unsigned sort, int fd, unsigned level, int number)
{
	struct value v;

	if (get(fd, levels[level], number, &v))
		change(fd, levels[level], number, &v);
}

static void look(unsigned sort, int fd, unsigned level, int number)
{
	get(fd, levels[level], number, &before[sort][level][number]);
}

static unsigned differ, same;

static void compare(unsigned sort, int fd, unsigned level, int number)
{
	struct value now, *old = &before[sort][level][number];

	get(fd, levels[level], number, &now);
	same += old->len > 0;
	if (now.len == old->len && !memcmp(now.at, old->at, SIZE))
		return;
	differ++;
	fprintf(stderr, "%s: option %d of level %d is %d (%u bytes), not %d (%u bytes)\n", sorts[sort].name,
	        number, levels[level], *(int *)(void *)now.at, now.len, *(int *)(void *)old->at, old->len);
}

int main(int argc, char **argv)
{
	int fd[SORTS];

	kind_init(argc, argv);
	for (unsigned i = 0; i < SORTS; i++) {
		fd[i] = socket(sorts[i].family, sorts[i].type, sorts[i].protocol);
		if (fd[i] < 0)
			kind_skip("no %s sockets: %s", sorts[i].name, strerror(errno));
		each(i, fd[i], set_up);
	}
	for (unsigned i = 0; i < SORTS; i++)
		each(i, fd[i], look);
	kind_ready();
	for (unsigned i = 0; i < SORTS; i++)
		each(i, fd[i], compare);
	if (differ)
		kind_fail("%u of %u options differ", differ, same);
	CHECK(same > 400);
	kind_pass();
}
