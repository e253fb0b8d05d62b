/* SPDX-License-Identifier: Apache-2.0 */
/* Multicast: memberships with and without sources, of IPv4 and IPv6, and who hears what. */
#include "kind.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct sockaddr_storage host(const char *text, int port)
{
	struct sockaddr_storage ret = { 0 };
	struct sockaddr_in *v4 = (void *)&ret;
	struct sockaddr_in6 *v6 = (void *)&ret;

	if (strchr(text, ':')) {
		*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		CHECK(inet_pton(AF_INET6, text, &v6->sin6_addr) == 1);
	} else {
		*v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
		CHECK(inet_pton(AF_INET, text, &v4->sin_addr) == 1);
	}
	return ret;
}

static int make(const char *text, int port)
{
	struct sockaddr_storage a = host(text, port);
	int fd = socket(a.ss_family, SOCK_DGRAM, 0), one = 1;

	CHECK(fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	CHECK(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

static int join(int fd, const char *group, const char *source)
{
	struct group_source_req q = { .gsr_interface = if_nametoindex("lo"), .gsr_group = host(group, 0) };
	int level = q.gsr_group.ss_family == AF_INET ? SOL_IP : SOL_IPV6;

	if (!source)
		return setsockopt(fd, level, MCAST_JOIN_GROUP, &q, sizeof(struct group_req));
	q.gsr_source = host(source, 0);
	return setsockopt(fd, level, MCAST_JOIN_SOURCE_GROUP, &q, sizeof(q));
}

static void say(int fd, const char *group, int port, const char *text)
{
	struct sockaddr_storage a = host(group, port);

	CHECK_EQ(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&a, sizeof(a)), strlen(text));
}

static void hear(int fd, const char *want)
{
	char buf[64] = "";
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	if (n < 0)
		buf[0] = '\0';
	CHECK_STR(buf, want);
}

int main(int argc, char **argv)
{
	struct ip_mreqn lo = { 0 };
	struct ip_mreq by_address = { { htonl(0xefffff03) }, { htonl(INADDR_LOOPBACK) } };
	int any, some, none, six, from, other, index;

	kind_init(argc, argv);
	index = (int)if_nametoindex("lo");
	lo.imr_ifindex = index;
	lo.imr_address.s_addr = htonl(INADDR_LOOPBACK);
	any = make("0.0.0.0", 5000);
	some = make("0.0.0.0", 5000);
	none = make("0.0.0.0", 5000);
	six = make("::", 5001);
	from = make("127.0.0.1", 5002);
	other = make("127.0.0.2", 5002);
	CHECK(!join(any, "239.255.255.1", NULL) && !join(some, "239.255.255.1", "127.0.0.2"));
	CHECK(!setsockopt(any, SOL_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof(by_address)));
	CHECK(!join(six, "ff05::77", NULL));
	CHECK(!setsockopt(none, SOL_IP, IP_MULTICAST_ALL, &(int){ 0 }, sizeof(int)));
	CHECK(!setsockopt(from, SOL_IP, IP_MULTICAST_IF, &lo, sizeof(lo)));
	CHECK(!setsockopt(other, SOL_IP, IP_MULTICAST_IF, &lo, sizeof(lo)));
	CHECK(!setsockopt(six, SOL_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index)));
	say(from, "239.255.255.1", 5000, "waits");
	kind_ready();

	hear(any, "waits"), hear(some, ""), hear(none, "");
	say(from, "239.255.255.1", 5000, "first");
	hear(any, "first"), hear(some, ""), hear(none, "");
	say(other, "239.255.255.1", 5000, "second");
	hear(any, "second"), hear(some, "second"), hear(none, "");
	CHECK(join(six, "ff05::77", NULL) < 0 && errno == EADDRINUSE); /* lo has no route to groups */
	CHECK(!setsockopt(any, SOL_IP, IP_DROP_MEMBERSHIP, &by_address, sizeof(by_address)));
	CHECK(!join(none, "239.255.255.1", NULL)); /* and it can join again */
	CHECK(join(any, "239.255.255.1", NULL) < 0 && errno == EADDRINUSE);
	kind_pass();
}
