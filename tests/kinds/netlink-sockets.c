/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink sockets: ports, groups, options, a peer; questions are answered as before. */
#include "kind.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static int make(int protocol, uint32_t port, uint32_t groups)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW, protocol);

	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

static uint32_t port_of(int fd)
{
	struct sockaddr_nl a;
	socklen_t len = sizeof(a);

	CHECK(!getsockname(fd, (struct sockaddr *)&a, &len));
	return a.nl_pid;
}

/* Asks and is answered. */
static void ask(int fd)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } q = {
		{ sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 77, 0 }, { .ifi_index = 1 }
	};
	union { struct nlmsghdr h; char bytes[8192]; } a;

	CHECK_EQ(send(fd, &q, sizeof(q), 0), sizeof(q));
	CHECK(recv(fd, &a, sizeof(a), 0) > (ssize_t)sizeof(a.h));
	CHECK(a.h.nlmsg_type == RTM_NEWLINK && a.h.nlmsg_seq == 77 && a.h.nlmsg_pid == port_of(fd));
}

static int get(int fd, int level, int number)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(!getsockopt(fd, level, number, &v, &len));
	return v;
}

static void tell(int from, uint32_t to, const char *text)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = to };
	struct { struct nlmsghdr h; char text[16]; } m = { { .nlmsg_len = sizeof(m) }, "" };

	strcpy(m.text, text);
	CHECK_EQ(sendto(from, &m, sizeof(m), 0, (struct sockaddr *)&a, sizeof(a)), sizeof(m));
}

static void hear(int fd, const char *want, uint32_t from)
{
	struct { struct nlmsghdr h; char text[16]; } m;
	struct sockaddr_nl a;
	socklen_t len = sizeof(a);

	CHECK_EQ(recvfrom(fd, &m, sizeof(m), MSG_DONTWAIT, (struct sockaddr *)&a, &len), sizeof(m));
	CHECK_STR(m.text, want);
	CHECK_EQ(a.nl_pid, from);
}

int main(int argc, char **argv)
{
	int route, own, user, user2, unbound, one = 1;
	uint32_t port, bits[4] = { 0 };
	socklen_t len = sizeof(bits);

	kind_init(argc, argv);
	route = make(NETLINK_ROUTE, 0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
	own = make(NETLINK_GENERIC, 123456, 0);
	user = make(NETLINK_USERSOCK, 71, 0);
	user2 = make(NETLINK_USERSOCK, 72, 0);
	unbound = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_ROUTE);
	CHECK(!setsockopt(route, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one)));
	CHECK(!setsockopt(own, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof(one)));
	CHECK(!setsockopt(route, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &(int){ 33 }, sizeof(int)));
	CHECK(!setsockopt(own, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ 500000 }, sizeof(int)));
	CHECK(!connect(user, (struct sockaddr *)&(struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_pid = 72 },
	               sizeof(struct sockaddr_nl)));
	port = port_of(route);
	kind_ready();

	CHECK_EQ(port_of(route), port);
	CHECK_EQ(port_of(own), 123456);
	CHECK_EQ(port_of(unbound), 0);
	CHECK(!getsockopt(route, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, bits, &len));
	CHECK(bits[0] == (RTMGRP_LINK | RTMGRP_IPV4_IFADDR) && bits[1] == 1);
	CHECK(get(route, SOL_NETLINK, NETLINK_EXT_ACK) == 1 && get(own, SOL_NETLINK, NETLINK_EXT_ACK) == 0);
	CHECK_EQ(get(own, SOL_NETLINK, NETLINK_NO_ENOBUFS), 1);
	CHECK_EQ(get(own, SOL_SOCKET, SO_RCVBUF), 1000000);
	CHECK_EQ(fcntl(unbound, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ask(route), ask(unbound);
	CHECK_EQ(send(user, &(struct nlmsghdr){ .nlmsg_len = 16 }, 16, 0), 16);
	CHECK_EQ(recv(user2, bits, sizeof(bits), MSG_DONTWAIT), 16);
	tell(user2, 71, "back");
	hear(user, "back", 72);
	kind_pass();
}
