/* SPDX-License-Identifier: Apache-2.0 */
/* One epoll with many eventfds and some sockets, a few under numbers that are closed or lead to
 * another of them. scale-epoll FOLDER [EVENTFDS [PAIRS OF SOCKETS]] */
#include "kind.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { MOVED = 8 };

static int ep;

static void add(int fd, unsigned data)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u32 = data };

	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

/* What is written to is reported, once, and nothing else. */
static void expect(int fd, unsigned data, const void *text, size_t len)
{
	struct epoll_event e[2];

	CHECK_EQ(write(fd, text, len), (ssize_t)len);
	CHECK_EQ(epoll_wait(ep, e, 2, 1000), 1);
	CHECK_EQ(e[0].data.u32, data);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 200, pairs = argc > 3 ? (unsigned)atoi(argv[3]) : 20;
	int *counter = calloc(n, sizeof(int)), (*pair)[2] = calloc(pairs, sizeof(*pair)), moved[MOVED];
	struct rlimit limit;

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(n > 2 * MOVED && limit.rlim_max > n + 2 * pairs + 50 && !setrlimit(RLIMIT_NOFILE, &limit));
	ep = epoll_create1(0);
	for (unsigned i = 0; i < n; i++) {
		counter[i] = eventfd(0, 0);
		CHECK(counter[i] >= 0);
		add(counter[i], i);
	}
	for (unsigned i = 0; i < pairs; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair[i]));
		add(pair[i][0], n + i);
	}
	/* These are under the numbers that they had before. */
	for (unsigned i = 0; i < MOVED; i++)
		CHECK((moved[i] = dup(counter[i])) >= 0);
	for (unsigned i = 0; i < MOVED; i++)
		CHECK(i % 2 ? !close(counter[i]) : dup2(counter[n - 1], counter[i]) == counter[i]);
	kind_ready();
	CHECK_EQ(epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 0), 0);
	for (unsigned i = 0; i < n; i++)
		expect(i < MOVED ? moved[i] : counter[i], i, &(uint64_t){ 1 }, 8);
	for (unsigned i = 0; i < pairs; i++)
		expect(pair[i][1], n + i, "x", 1);
	kind_pass();
}
