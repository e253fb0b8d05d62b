/* SPDX-License-Identifier: Apache-2.0 */
/* Raw and ping sockets: bound, connected, filtered, with headers of one's own. */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif

static struct sockaddr_in host(uint32_t address)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(address) } };
}

static void echo(int fd, uint16_t number, bool connected)
{
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo = { .id = htons(55), .sequence = htons(number) } };
	struct sockaddr_in to = host(INADDR_LOOPBACK);

	h.checksum = (uint16_t)~(h.type + h.un.echo.id + h.un.echo.sequence);
	if ((uint32_t)h.type + h.un.echo.id + h.un.echo.sequence > 0xffff)
		h.checksum = (uint16_t)(h.checksum - 1);
	CHECK_EQ(sendto(fd, &h, sizeof(h), 0, connected ? NULL : (struct sockaddr *)&to, connected ? 0
	                                                                                   : sizeof(to)),
	         sizeof(h));
}

/* The next answer: its number. */
static int answer(int fd, size_t skip)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	struct icmphdr h;

	if (n < (ssize_t)(skip + sizeof(h)))
		return -1;
	memcpy(&h, buf + skip, sizeof(h));
	CHECK_EQ(h.type, ICMP_ECHOREPLY);
	return ntohs(h.un.echo.sequence);
}

static bool allow_ping(void)
{
	int fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
	bool ret = fd >= 0 && write(fd, "0 1000", 6) == 6;

	if (fd >= 0)
		close(fd);
	return ret;
}

int main(int argc, char **argv)
{
	uint32_t only_replies = ~(1u << ICMP_ECHOREPLY), now = 0;
	struct icmp6_filter none, read_back;
	struct sockaddr_in a = host(INADDR_LOOPBACK);
	socklen_t len = sizeof(now);
	int raw, connected, own, six, ping, one = 1;

	kind_init(argc, argv);
	if (!allow_ping())
		kind_skip("ping sockets cannot be allowed");
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	connected = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	own = socket(AF_INET, SOCK_RAW, 253);
	six = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	CHECK(raw >= 0 && connected >= 0 && own >= 0 && six >= 0 && ping >= 0);
	CHECK(!setsockopt(raw, SOL_RAW, ICMP_FILTER, &only_replies, sizeof(only_replies)));
	CHECK(!setsockopt(connected, SOL_RAW, ICMP_FILTER, &only_replies, sizeof(only_replies)));
	CHECK(!connect(connected, (struct sockaddr *)&a, sizeof(a)));
	CHECK(!setsockopt(own, SOL_IP, IP_HDRINCL, &one, sizeof(one)));
	CHECK(!bind(own, (struct sockaddr *)&a, sizeof(a)));
	ICMP6_FILTER_SETBLOCKALL(&none);
	CHECK(!setsockopt(six, SOL_ICMPV6, ICMP6_FILTER, &none, sizeof(none)));
	a.sin_port = htons(321);
	a.sin_addr.s_addr = INADDR_ANY;
	CHECK(!bind(ping, (struct sockaddr *)&a, sizeof(a)));
	kind_ready();

	CHECK(!getsockopt(raw, SOL_RAW, ICMP_FILTER, &now, &len) && now == only_replies);
	len = sizeof(read_back);
	CHECK(!getsockopt(six, SOL_ICMPV6, ICMP6_FILTER, &read_back, &len) && !memcmp(&none, &read_back, len));
	len = sizeof(a);
	CHECK(!getsockname(ping, (struct sockaddr *)&a, &len) && a.sin_port == htons(321));
	CHECK(!getsockname(own, (struct sockaddr *)&a, &len) && a.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	echo(ping, 4, false);
	CHECK_EQ(answer(ping, 0), 4);
	CHECK_EQ(answer(raw, sizeof(struct iphdr)), 4);
	CHECK_EQ(answer(connected, sizeof(struct iphdr)), 4);
	echo(connected, 5, true);
	CHECK_EQ(answer(connected, sizeof(struct iphdr)), 5);
	CHECK_EQ(answer(ping, 0), -1);
	kind_pass();
}
