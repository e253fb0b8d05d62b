/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP and UDP-Lite sockets of IPv4 and IPv6: bound, connected, both, sharing a
 * port; what waits in them, with senders, some of whom are gone; options.
 */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif

union at {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union at at(const char *host, int port)
{
	union at a = { 0 };

	if (strchr(host, ':')) {
		a.v6.sin6_family = AF_INET6;
		a.v6.sin6_port = htons((uint16_t)port);
		CHECK(inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1);
	} else {
		a.v4.sin_family = AF_INET;
		a.v4.sin_port = htons((uint16_t)port);
		CHECK(inet_pton(AF_INET, host, &a.v4.sin_addr) == 1);
	}
	return a;
}

static int make(const char *host, int port, int protocol, bool share)
{
	union at a = at(host, port);
	int fd = socket(a.any.sa_family, SOCK_DGRAM, protocol), one = 1;

	CHECK(fd >= 0);
	CHECK(!share || !setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	CHECK(!bind(fd, &a.any, sizeof(a)));
	return fd;
}

static void talk(int from, const char *host, int port, const char *text)
{
	union at a = at(host, port);

	CHECK_EQ(sendto(from, text, strlen(text), 0, &a.any, a.any.sa_family == AF_INET ? sizeof(a.v4)
	                                                                             : sizeof(a.v6)),
	         strlen(text));
}

static void turn(int fd, const char *host, int port)
{
	union at a = at(host, port);

	CHECK(!connect(fd, &a.any, sizeof(a)));
}

static void hear(int fd, const char *want, const char *host, int port)
{
	union at a = { 0 }, from = at(host, port);
	socklen_t len = sizeof(a);
	char buf[64] = "";

	CHECK_EQ(recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, &a.any, &len), strlen(want));
	CHECK_STR(buf, want);
	if (from.any.sa_family == AF_INET)
		CHECK(a.v4.sin_port == from.v4.sin_port && a.v4.sin_addr.s_addr == from.v4.sin_addr.s_addr);
	else
		CHECK(a.v6.sin6_port == from.v6.sin6_port &&
		      !memcmp(&a.v6.sin6_addr, &from.v6.sin6_addr, sizeof(a.v6.sin6_addr)));
}

static in_port_t name_of(int fd)
{
	union at a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(!getsockname(fd, &a.any, &len));
	return a.v4.sin_port;
}

static void silent(int fd)
{
	char c;

	CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static int get(int fd, int level, int number)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(!getsockopt(fd, level, number, &v, &len));
	return v;
}

static void set(int fd, int level, int number, int v) { CHECK(!setsockopt(fd, level, number, &v, sizeof(v))); }

int main(int argc, char **argv)
{
	int server, client, gone, six, both, shared[3], lite, lite2, unbound, big, one;
	static char large[60000];

	kind_init(argc, argv);
	server = make("0.0.0.0", 4000, 0, false);
	client = make("127.0.0.2", 4001, 0, false);
	gone = make("127.0.0.3", 4002, 0, false);
	six = make("::1", 4003, 0, false);
	both = make("::", 4004, 0, false);
	lite = make("127.0.0.1", 4005, IPPROTO_UDPLITE, false);
	lite2 = make("127.0.0.1", 4006, IPPROTO_UDPLITE, false);
	big = make("127.0.0.1", 4008, 0, false);
	unbound = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	for (int i = 0; i < 3; i++)
		shared[i] = make("127.0.0.1", 4007, 0, true);

	talk(client, "127.0.0.1", 4000, "one");
	CHECK_EQ(sendto(client, "", 0, 0, &(union at){ .v4 = at("127.0.0.1", 4000).v4 }.any, 16), 0);
	talk(gone, "127.0.0.9", 4000, "last words");
	turn(shared[1], "127.0.0.3", 4002);
	talk(gone, "127.0.0.1", 4007, "to the second");
	turn(client, "127.0.0.1", 4000);
	talk(six, "::1", 4004, "six to both");
	talk(client, "127.0.0.1", 4000, "two");
	talk(gone, "127.0.0.1", 4004, "four to both");
	close(gone);
	one = make("127.0.0.5", 4009, 0, false);
	turn(shared[2], "127.0.0.5", 4009);
	talk(one, "127.0.0.1", 4007, "for the third");
	turn(shared[2], "127.0.0.6", 4010); /* and now for somebody else */
	close(one);
	talk(lite, "127.0.0.1", 4006, "lite");
	memset(large, 'l', sizeof(large));
	CHECK_EQ(sendto(server, large, sizeof(large), 0, &(union at){ .v4 = at("127.0.0.1", 4008).v4 }.any, 16),
	         sizeof(large));
	CHECK(!setsockopt(big, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)); /* and it has a datagram */
	set(server, SOL_SOCKET, SO_BROADCAST, 1);
	set(server, SOL_IP, IP_TOS, 0x10);
	set(server, SOL_IP, IP_RECVTTL, 1);
	set(client, SOL_SOCKET, SO_RCVBUF, 100000);
	set(six, SOL_IPV6, IPV6_UNICAST_HOPS, 7);
	set(lite2, SOL_UDP, 11, 8); /* UDPLITE_RECV_CSCOV */
	set(unbound, SOL_SOCKET, SO_PRIORITY, 3);
	kind_ready();

	CHECK(get(server, SOL_SOCKET, SO_BROADCAST) == 1 && get(server, SOL_IP, IP_TOS) == 0x10);
	CHECK(get(server, SOL_IP, IP_RECVTTL) == 1 && get(client, SOL_IP, IP_RECVTTL) == 0);
	CHECK(get(server, SOL_IP, IP_RECVORIGDSTADDR) == 0 && get(server, SOL_SOCKET, SO_PEEK_OFF) == -1);
	CHECK_EQ(get(client, SOL_SOCKET, SO_RCVBUF), 200000);
	CHECK_EQ(get(six, SOL_IPV6, IPV6_UNICAST_HOPS), 7);
	CHECK_EQ(get(lite2, SOL_UDP, 11), 8);
	CHECK(get(unbound, SOL_SOCKET, SO_PRIORITY) == 3 && (fcntl(unbound, F_GETFL) & O_NONBLOCK));
	CHECK(get(shared[0], SOL_SOCKET, SO_REUSEPORT) == 1 && get(shared[0], SOL_SOCKET, SO_REUSEADDR) == 0);
	hear(server, "one", "127.0.0.2", 4001);
	hear(server, "", "127.0.0.2", 4001);
	hear(server, "last words", "127.0.0.3", 4002);
	hear(server, "two", "127.0.0.2", 4001);
	silent(server);
	hear(both, "six to both", "::1", 4003);
	hear(both, "four to both", "::ffff:127.0.0.3", 4002);
	silent(both);
	hear(shared[1], "to the second", "127.0.0.3", 4002);
	hear(shared[2], "for the third", "127.0.0.5", 4009);
	silent(shared[0]), silent(shared[1]), silent(shared[2]);
	hear(lite2, "lite", "127.0.0.1", 4005);
	CHECK_EQ(recv(big, large, sizeof(large), MSG_DONTWAIT), sizeof(large));

	char device[16] = "";
	socklen_t len = sizeof(device);
	CHECK(!getsockopt(big, SOL_SOCKET, SO_BINDTODEVICE, device, &len));
	CHECK_STR(device, "lo");

	/* All of it works on. */
	talk(unbound, "127.0.0.1", 4007, "any");
	talk(server, "127.0.0.2", 4001, "answer");
	hear(client, "answer", "127.0.0.1", 4000);
	silent(shared[1]), silent(shared[2]);
	hear(shared[0], "any", "127.0.0.1", ntohs(name_of(unbound)));
	kind_pass();
}
