/* SPDX-License-Identifier: Apache-2.0 */
/* Many TCP connections with both ends here, and bytes waiting in each direction. scale-tcp FOLDER [PAIRS] */
#include "kind.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define PAIRS_MAX 5000
#define EACH 512

static int pair[PAIRS_MAX][2];

static void talk(int from, int to, unsigned number, bool send_it)
{
	char text[EACH], got[EACH + 1];

	for (unsigned i = 0; i < EACH; i++)
		text[i] = (char)(i * 7 + number);
	if (send_it) {
		CHECK_EQ(write(from, text, EACH), EACH);
		return;
	}
	CHECK_EQ(recv(to, got, EACH, MSG_WAITALL), EACH);
	CHECK(!memcmp(got, text, EACH));
	CHECK(recv(to, got, sizeof(got), MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
	int l = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	struct rlimit limit;

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(n <= PAIRS_MAX && limit.rlim_max > 2 * n + 10 && !setrlimit(RLIMIT_NOFILE, &limit));
	CHECK(!bind(l, (struct sockaddr *)&at, len) && !listen(l, 1) &&
	      !getsockname(l, (struct sockaddr *)&at, &len));
	for (unsigned i = 0; i < n; i++) {
		pair[i][0] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK(!connect(pair[i][0], (struct sockaddr *)&at, len));
		pair[i][1] = accept(l, NULL, NULL);
		CHECK(pair[i][1] >= 0);
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
