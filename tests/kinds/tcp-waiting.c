/* SPDX-License-Identifier: Apache-2.0 */
/* Connections within the tree that nobody has accepted yet and that have said nothing, and one
 * that is being made since there is no room for it: they are accepted, with both ends at the same
 * address, be it another than before. */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define ROOM 2 /* in the backlog */
#define ALL (ROOM + 1)

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int l = socket(AF_INET, SOCK_STREAM, 0), client[ALL];
	char c;

	kind_init(argc, argv);
	CHECK(!bind(l, (struct sockaddr *)&at, len) && !listen(l, ROOM - 1));
	CHECK(!getsockname(l, (struct sockaddr *)&at, &len));
	for (int i = 0; i < ALL; i++) {
		client[i] = socket(AF_INET, SOCK_STREAM | (i < ROOM ? 0 : SOCK_NONBLOCK), 0);
		CHECK(connect(client[i], (struct sockaddr *)&at, len) == (i < ROOM ? 0 : -1));
	}
	CHECK_EQ(errno, EINPROGRESS);
	kind_ready();
	for (int i = 0; i < ALL; i++) {
		struct sockaddr_in here, there, peer;
		int s = accept(l, (struct sockaddr *)&peer, &len);
		CHECK(s >= 0);
		CHECK(!getsockname(s, (struct sockaddr *)&here, &len));
		CHECK(!getpeername(client[i], (struct sockaddr *)&there, &len));
		CHECK(!memcmp(&here, &there, len));
		CHECK(!getsockname(client[i], (struct sockaddr *)&there, &len));
		CHECK(!memcmp(&peer, &there, len) && peer.sin_addr.s_addr == here.sin_addr.s_addr);
		CHECK_EQ(write(s, "x", 1), 1);
		CHECK_EQ(fcntl(client[i], F_SETFL, 0), 0);
		CHECK_EQ(read(client[i], &c, 1), 1);
	}
	kind_pass();
}
