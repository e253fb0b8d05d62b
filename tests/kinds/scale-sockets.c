/* SPDX-License-Identifier: Apache-2.0 */
/* Many pairs of sockets of every type, with something queued in each direction. scale-sockets FOLDER [PAIRS] */
#include "kind.h"

#include <sys/resource.h>
#include <sys/socket.h>

#define PAIRS_MAX 20000

static int pair[PAIRS_MAX][2];
static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };

static void talk(int from, int to, unsigned number, bool send_it)
{
	char text[64], got[64] = "";
	int len = snprintf(text, sizeof(text), "message %u from %d", number, from);

	if (send_it) {
		CHECK_EQ(write(from, text, (size_t)len), len);
		return;
	}
	CHECK_EQ(recv(to, got, sizeof(got) - 1, MSG_DONTWAIT), len);
	CHECK_STR(got, text);
	CHECK(recv(to, got, sizeof(got), MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
	struct rlimit limit;

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(n <= PAIRS_MAX && limit.rlim_max > 2 * n + 10 && !setrlimit(RLIMIT_NOFILE, &limit));
	for (unsigned i = 0; i < n; i++) {
		CHECK(!socketpair(AF_UNIX, types[argc > 2 ? 0 : i % 3], 0, pair[i]));
		talk(pair[i][0], pair[i][1], i, true);
		talk(pair[i][1], pair[i][0], i, true);
	}
	kind_ready();
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < n; i++) {
			talk(pair[i][0], pair[i][1], i, round);
			talk(pair[i][1], pair[i][0], i, round);
		}
	kind_pass();
}
