/* SPDX-License-Identifier: Apache-2.0 */
/* Classic BPF programs as filters of sockets, also one that is locked. */
#include "kind.h"

#include <linux/filter.h>
#include <sys/socket.h>

static struct sock_filter begins_with_x[] = { /* others are dropped, those are cut to 2 bytes */
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'x', 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 2),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

static void check_filter(int from, int to, bool locked)
{
	struct sock_filter now[8];
	socklen_t n = 8, len = sizeof(int);
	int lock, none = 0;
	char buf[9];

	CHECK(!getsockopt(to, SOL_SOCKET, SO_GET_FILTER, now, &n));
	CHECK_EQ(n, 4);
	CHECK(!memcmp(now, begins_with_x, sizeof(begins_with_x)));
	CHECK(!getsockopt(to, SOL_SOCKET, SO_LOCK_FILTER, &lock, &len));
	CHECK_EQ(lock, locked);
	CHECK(setsockopt(to, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)) == (locked ? -1 : 0));
	if (!locked)
		return;
	send(from, "abc", 3, MSG_DONTWAIT); /* the sender is told nothing */
	CHECK_EQ(send(from, "xyz", 3, 0), 3);
	CHECK_EQ(recv(to, buf, sizeof(buf), MSG_DONTWAIT), 2);
	CHECK(recv(to, buf, sizeof(buf), MSG_DONTWAIT) < 0);
}

int main(int argc, char **argv)
{
	struct sock_fprog prog = { 4, begins_with_x };
	int a[2], b[2], one = 1;
	char buf[9];

	kind_init(argc, argv);
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, a) && !socketpair(AF_UNIX, SOCK_DGRAM, 0, b));
	CHECK_EQ(send(a[0], "before", 6, 0), 6); /* waits, though the filter would not have it */
	CHECK(!setsockopt(a[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	CHECK(!setsockopt(b[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	CHECK(!setsockopt(a[1], SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one)));
	kind_ready();
	CHECK_EQ(recv(a[1], buf, sizeof(buf), MSG_DONTWAIT), 6);
	check_filter(a[0], a[1], true);
	check_filter(b[0], b[1], false);
	kind_pass();
}
