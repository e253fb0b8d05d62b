/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages without a byte, between others. The kernel shows them once to a
 * peek at an offset, so a tree that is left running and dumped again loses
 * them: this is not run in the mode "again".
 */
#include "kind.h"

#include <sys/socket.h>

static void check(int fd)
{
	char buf[9];

	CHECK_EQ(recv(fd, buf, 9, MSG_DONTWAIT), 0);
	CHECK_EQ(recv(fd, buf, 9, MSG_DONTWAIT), 3);
	CHECK_EQ(recv(fd, buf, 9, MSG_DONTWAIT), 0);
	CHECK_EQ(recv(fd, buf, 9, MSG_DONTWAIT), 0);
	CHECK_EQ(recv(fd, buf, 9, MSG_DONTWAIT), 5);
	CHECK_EQ(recv(fd, buf, 9, MSG_DONTWAIT), 0);
	CHECK(recv(fd, buf, 9, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

int main(int argc, char **argv)
{
	static const char *const text[] = { "", "one", "", "", "three", "" };
	int packets[2], datagrams[2];

	kind_init(argc, argv);
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams));
	for (int i = 0; i < 6; i++) {
		CHECK_EQ(send(packets[0], text[i], strlen(text[i]), 0), strlen(text[i]));
		CHECK_EQ(send(datagrams[0], text[i], strlen(text[i]), 0), strlen(text[i]));
	}
	kind_ready();

	check(packets[1]);
	check(datagrams[1]);
	kind_pass();
}
