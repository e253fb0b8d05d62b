/* SPDX-License-Identifier: Apache-2.0 */
/* Packet sockets: bound to an interface, with a filter, groups, a fanout group, options. */
#include "kind.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

static int index_of_lo;

static int make(int type, int protocol)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol),
		.sll_ifindex = index_of_lo };
	int fd = socket(AF_PACKET, type, 0);

	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

static void say(int fd, const char *text, int protocol)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol),
		.sll_ifindex = index_of_lo, .sll_halen = 6 };

	CHECK_EQ(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&a, sizeof(a)), strlen(text));
}

/* Counts the frames of this text; those of others are not ours. */
static int hear(int fd, const char *want)
{
	char buf[256];
	ssize_t n;
	int count = 0;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		count += n == (ssize_t)strlen(want) && !memcmp(buf, want, (size_t)n);
	return count;
}

static int get(int fd, int number)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(!getsockopt(fd, SOL_PACKET, number, &v, &len));
	return v;
}

int main(int argc, char **argv)
{
	struct sock_filter yes[] = { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1), BPF_STMT(BPF_RET | BPF_K, 100),
		BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog prog = { 4, yes };
	struct packet_mreq all = { .mr_type = PACKET_MR_PROMISC };
	struct sockaddr_ll a;
	socklen_t len = sizeof(a);
	int fanout[2], filtered, from, idle, one = 1, group = 77 | PACKET_FANOUT_LB << 16;
	int protocol = 0x88b5; /* for experiments */

	kind_init(argc, argv);
	index_of_lo = (int)if_nametoindex("lo");
	all.mr_ifindex = index_of_lo;
	for (int i = 0; i < 2; i++) {
		fanout[i] = make(SOCK_DGRAM, protocol);
		CHECK(!setsockopt(fanout[i], SOL_PACKET, PACKET_FANOUT, &group, sizeof(group)));
	}
	filtered = make(SOCK_DGRAM, protocol);
	CHECK(!setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	CHECK(!setsockopt(filtered, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)));
	CHECK(!setsockopt(filtered, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)));
	from = make(SOCK_DGRAM, 0);
	idle = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
	CHECK(idle >= 0);
	kind_ready();

	CHECK_EQ(get(fanout[0], PACKET_FANOUT), group);
	CHECK(get(filtered, PACKET_AUXDATA) == 1 && get(fanout[0], PACKET_AUXDATA) == 0);
	CHECK(!getsockname(fanout[1], (struct sockaddr *)&a, &len));
	CHECK(a.sll_ifindex == index_of_lo && a.sll_protocol == htons((uint16_t)protocol));
	CHECK_EQ(fcntl(idle, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	say(from, "yes", protocol), say(from, "no", protocol);
	hear(fanout[0], "yes"), hear(fanout[1], "yes");
	CHECK(hear(filtered, "yes") >= 1 && hear(filtered, "no") == 0);
	for (int i = 0; i < 8; i++)
		say(from, "both", protocol);
	CHECK(hear(fanout[0], "both") >= 1 && hear(fanout[1], "both") >= 1); /* each gets its share */
	CHECK(!setsockopt(filtered, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &all, sizeof(all)));
	kind_pass();
}
