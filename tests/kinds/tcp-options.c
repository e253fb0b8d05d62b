/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every option of every level that the kernel lets one read and change, found by
 * trying all numbers: on a new socket, a listening one and the ends of a
 * connection, IPv4 and IPv6. Each that takes another value gets one, a little larger than
 * its own or a large one, and all are compared afterwards. There are so many sockets that what
 * is usual of them is learned, and not asked for (NET_MANY in plugins/net/options.h).
 */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define NUMBERS 128
#define SOCKETS 16 /* the second half has large values */
#define IDLE 200 /* of each family */
#define ROOM 256

static const int levels[] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP };
static const char *const level_names[] = { "SOL_SOCKET", "IP", "IPV6", "TCP" };
#define LEVELS 4

struct value {
	bool has;
	socklen_t len;
	unsigned char data[ROOM];
};

static int sockets[SOCKETS];
static struct value before[SOCKETS][LEVELS][NUMBERS];
static unsigned changed;
static bool large;

static bool is_state(int level, int number)
{
	static const short state[][2] = {
		{ SOL_SOCKET, 4 },    /* SO_ERROR */
		{ SOL_SOCKET, 8 },    /* SO_RCVBUF: set for SO_RCVLOWAT too */
		{ SOL_SOCKET, 17 },   /* SO_PEERCRED */
		{ SOL_SOCKET, 49 },   /* SO_INCOMING_CPU */
		{ SOL_SOCKET, 55 },   /* SO_MEMINFO */
		{ SOL_SOCKET, 56 },   /* SO_INCOMING_NAPI_ID */
		{ SOL_SOCKET, 57 },   /* SO_COOKIE */
		{ SOL_SOCKET, 77 },   /* SO_PEERPIDFD */
		{ IPPROTO_IP, 9 },    /* IP_PKTOPTIONS */
		{ IPPROTO_IP, 14 },   /* IP_MTU */
		{ IPPROTO_IP, 33 },   /* IP_MULTICAST_TTL: of TCP, from a segment */
		{ IPPROTO_IPV6, 6 },  /* IPV6_2292PKTOPTIONS */
		{ IPPROTO_IPV6, 17 }, /* IPV6_MULTICAST_IF: of TCP, from a segment */
		{ IPPROTO_IPV6, 18 }, /* IPV6_MULTICAST_HOPS */
		{ IPPROTO_IPV6, 24 }, /* IPV6_MTU */
		{ IPPROTO_IPV6, 61 }, /* IPV6_PATHMTU */
		{ IPPROTO_TCP, 11 },  /* TCP_INFO */
		{ IPPROTO_TCP, 12 },  /* TCP_QUICKACK */
		{ IPPROTO_TCP, 24 },  /* TCP_TIMESTAMP */
		{ IPPROTO_TCP, 26 },  /* TCP_CC_INFO */
		{ IPPROTO_TCP, 33 },  /* TCP_FASTOPEN_KEY: of the namespace */
	};

	for (unsigned i = 0; i < sizeof(state) / sizeof(*state); i++)
		if (state[i][0] == level && state[i][1] == number)
			return true;
	return false;
}

/* What must not be changed here, or would make the socket another. */
static bool is_taboo(int level, int number)
{
	if (level == SOL_SOCKET) /* SO_DONTROUTE, devices, filters, SO_MARK with its routes */
		return number == 5 || number == 25 || number == 26 || number == 27 || number == 44 ||
		       number == 50 || number == 51 || number == 52 || number == 62;
	if (level == IPPROTO_IP) /* IP_MINTTL, IP_UNICAST_IF, policies */
		return number == 21 || number == 16 || number == 17 || number == 50 || number == 51;
	if (level == IPPROTO_IPV6) /* IPV6_ADDRFORM, MINHOPCOUNT, UNICAST_IF, policies */
		return number == 1 || number == 73 || number == 76 || number == 34 || number == 35;
	return number == 31 || (number >= 19 && number <= 22) || number == 29; /* TCP_ULP, repair */
}

static struct value get(int fd, int level, int number)
{
	struct value v = { .len = ROOM };

	v.has = !is_state(level, number) && getsockopt(fd, level, number, v.data, &v.len) == 0 &&
	        v.len <= ROOM;
	return v;
}

/* Of some options only a byte that a small value leaves alone. */
static bool set_large(int fd, int level, int number)
{
	for (int word = 0x1000000; word >= 0x100; word >>= 8)
		if (setsockopt(fd, level, number, &word, sizeof(word)) == 0 &&
		    get(fd, level, number).data[0] != 1) /* 1: on */
			return true;
	return false;
}

static void change(int fd, int level, int number)
{
	struct value v = get(fd, level, number), now;
	int word;

	if (!v.has || is_taboo(level, number) || v.len != sizeof(word))
		return;
	memcpy(&word, v.data, sizeof(word));
	if (!large || !set_large(fd, level, number)) {
		word = word ? word + 1 : 1;
		if (setsockopt(fd, level, number, &word, sizeof(word)) < 0) {
			word -= 2;
			setsockopt(fd, level, number, &word, sizeof(word));
		}
	}
	now = get(fd, level, number);
	changed += memcmp(now.data, v.data, v.len) != 0;
}

static void change_all(int fd)
{
	struct timeval t = { 9, 0 };
	struct linger l = { 1, large ? 1 << 29 : 3 };
	uint64_t rate = 1ull << 40;

	for (int k = 0; k < LEVELS; k++)
		for (int i = 1; i < NUMBERS; i++)
			change(fd, levels[k], i);
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	CHECK(!large || !setsockopt(fd, SOL_SOCKET, 47 /* SO_MAX_PACING_RATE */, &rate, sizeof(rate)));
	CHECK(!setsockopt(fd, IPPROTO_TCP, 13 /* TCP_CONGESTION */, "reno", 4));
}

static void make(int family, int *ret)
{
	struct sockaddr_storage addr = { .ss_family = (sa_family_t)family };
	socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	if (family == AF_INET)
		((struct sockaddr_in *)&addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&addr)->sin6_addr = in6addr_loopback;
	for (int i = 0; i < 3; i++) {
		ret[i] = socket(family, SOCK_STREAM, 0);
		CHECK(ret[i] >= 0);
	}
	CHECK(!bind(ret[1], (struct sockaddr *)&addr, len) && !listen(ret[1], 1));
	CHECK(!getsockname(ret[1], (struct sockaddr *)&addr, &len));
	CHECK(!connect(ret[2], (struct sockaddr *)&addr, len));
	ret[3] = accept(ret[1], NULL, NULL);
	CHECK(ret[3] >= 0);
	for (int i = 0; i < 4; i++)
		change_all(ret[i]);
}

static int word(const struct value *v)
{
	int ret;

	memcpy(&ret, v->data, sizeof(ret));
	return ret;
}

static bool same(int s, int k, int i)
{
	struct value v = get(sockets[s], levels[k], i), *b = &before[s][k][i];
	bool connected = s % 4 > 1;

	/* The size of segments follows what is sent. */
	if (connected && levels[k] == IPPROTO_TCP && i == 2)
		return v.has && word(&v) > word(b) / 2;
	/* Whoever is bound to an address of IPv6 has IPV6_V6ONLY. */
	if (connected && levels[k] == IPPROTO_IPV6 && i == 26)
		return v.has == b->has;
	if (v.has == b->has && v.len == b->len && !memcmp(v.data, b->data, b->len))
		return true;
	fprintf(stderr, "socket %d: option %d of %s: was %d (%u bytes), is %d (%u)\n", s, i, level_names[k],
	        word(b), b->len, word(&v), v.len);
	return false;
}

int main(int argc, char **argv)
{
	unsigned wrong = 0;

	kind_init(argc, argv);
	for (int i = 0; i < SOCKETS; i += 4) {
		large = i >= SOCKETS / 2;
		make(i % 8 ? AF_INET6 : AF_INET, sockets + i);
	}
	for (int i = 0; i < 2 * IDLE; i++)
		CHECK(socket(i % 2 ? AF_INET6 : AF_INET, SOCK_STREAM, 0) >= 0);
	CHECK(changed > 200);
	for (int s = 0; s < SOCKETS; s++)
		for (int k = 0; k < LEVELS; k++)
			for (int i = 1; i < NUMBERS; i++)
				before[s][k][i] = get(sockets[s], levels[k], i);
	kind_ready();

	for (int s = 0; s < SOCKETS; s++)
		for (int k = 0; k < LEVELS; k++)
			for (int i = 1; i < NUMBERS; i++)
				wrong += !same(s, k, i);
	CHECK_EQ(wrong, 0);
	kind_pass();
}
