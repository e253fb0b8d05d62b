/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that make, register, move and close descriptors all the time: whoever looks at them while
 * they run sees halves of what is whole at each moment. An epoll has what has just been closed; the
 * other end of a socket changes its number, as does a pipe's; connections are made, accepted and
 * closed. What is sent through them arrives.
 */
#include "kind.h"
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { THREADS = 6 };
static unsigned long progress[THREADS];

/* Each by itself for a while, then all at once. */
static bool has_turn(unsigned thread)
{
	const int64_t turn = kind_now_ms() / 30 % (THREADS + 1);

	return turn == thread || turn == THREADS;
}

/* At times as fast as can be but for what others need to get on, then slow enough that a whole look
 * comes between two changes. */
static void pause_often(unsigned thread)
{
	const unsigned long n = ++progress[thread];
	const unsigned fast = kind_now_ms() / 250 % 4 ? 512 : 1;

	if (n % fast == 0)
		usleep((unsigned)(n * 2654435761u % (fast == 1 ? 3000 : 200)));
	while (!has_turn(thread) && !kind_over())
		usleep(1000);
}

/* A long-lived epoll, and short-lived things in it. */
static void *run_epoll(void *arg)
{
	const unsigned me = (unsigned)(uintptr_t)arg;
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0), v[2];

	CHECK(ep >= 0);
	for (; !kind_over(); pause_often(me)) {
		if (progress[me] % 2) {
			CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, v), 0);
		} else {
			CHECK_EQ(pipe(v), 0);
		}
		for (int i = 0; i < 2; i++)
			CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, v[i], &e), 0);
		pause_often(me);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(close(v[i]), 0);
	}
	return NULL;
}

/* One end stays, the other goes from number to number. */
static void hop(unsigned me, const int v[2])
{
	int moves = v[1];
	char c;

	for (unsigned i = 0; !kind_over(); i++, pause_often(me)) {
		int to = fcntl(moves, F_DUPFD, 40 + (int)(i * 7 % 40));
		CHECK(to >= 0);
		CHECK_EQ(close(moves), 0);
		moves = to;
		CHECK_EQ(write(moves, "x", 1), 1);
		CHECK_EQ(read(v[0], &c, 1), 1);
	}
}

static void *run_hop_pipe(void *arg)
{
	int v[2];

	CHECK_EQ(pipe(v), 0);
	hop((unsigned)(uintptr_t)arg, v);
	return NULL;
}

static void *run_hop_socket(void *arg)
{
	int v[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, v), 0);
	hop((unsigned)(uintptr_t)arg, v);
	return NULL;
}

/* Connections to oneself. */
static void accept_all(unsigned me, int family, struct sockaddr *a, socklen_t len)
{
	int l = socket(family, SOCK_STREAM, 0);
	char c;

	CHECK(l >= 0);
	CHECK_EQ(bind(l, a, len), 0);
	CHECK_EQ(listen(l, 4), 0);
	CHECK_EQ(getsockname(l, a, &len), 0);
	for (; !kind_over(); pause_often(me)) {
		int s = socket(family, SOCK_STREAM, 0), t;
		struct linger at_once = { 1, 0 };
		CHECK(s >= 0);
		CHECK_EQ(connect(s, a, len), 0);
		CHECK((t = accept(l, NULL, NULL)) >= 0);
		CHECK_EQ(write(s, "y", 1), 1);
		CHECK_EQ(read(t, &c, 1), 1);
		if (family == AF_INET)
			setsockopt(t, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		CHECK_EQ(close(t), 0);
		CHECK_EQ(close(s), 0);
	}
}

static void *run_unix(void *arg)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "sockets-storm-%d", getpid());

	accept_all((unsigned)(uintptr_t)arg, AF_UNIX, (struct sockaddr *)&a,
	           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n));
	return NULL;
}

static void *run_tcp(void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	accept_all((unsigned)(uintptr_t)arg, AF_INET, (struct sockaddr *)&a, sizeof(a));
	return NULL;
}

int main(int argc, char **argv)
{
	static void *(*const run[THREADS])(void *) = {
		run_epoll, run_epoll, run_hop_pipe, run_hop_socket, run_unix, run_tcp,
	};
	pthread_t thread[THREADS];

	kind_init(argc, argv);
	kind_busy();
	for (long i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, run[i], (void *)i));
	kind_announce();
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
