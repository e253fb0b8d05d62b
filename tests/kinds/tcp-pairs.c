/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets, and connections with both ends here and bytes waiting in both directions. */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define PAIRS 3
#define BIG (3 << 20)

static int listener[4], near[PAIRS], far[PAIRS];
static size_t queued[PAIRS];

static void set(int fd, int level, int option, int v)
{
	CHECK(!setsockopt(fd, level, option, &v, sizeof(v)));
}

static int get(int fd, int level, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(!getsockopt(fd, level, option, &v, &len));
	return v;
}

static socklen_t local(int family, unsigned short port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		in->sin_port = htons(port);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(*in);
	}
	in6->sin6_port = htons(port);
	in6->sin6_addr = in6addr_loopback;
	return sizeof(*in6);
}

/* *port 0: any that is free, which is said there. */
static int make_listener(int family, unsigned short *port, int reuse, bool any)
{
	struct sockaddr_storage addr;
	socklen_t len = local(family, *port, &addr);
	int fd = socket(family, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	if (any) /* for v4-mapped ones */
		((struct sockaddr_in6 *)&addr)->sin6_addr = in6addr_any;
	if (reuse)
		set(fd, SOL_SOCKET, reuse, 1);
	CHECK(!bind(fd, (struct sockaddr *)&addr, len));
	CHECK(!listen(fd, 7));
	CHECK(!getsockname(fd, (struct sockaddr *)&addr, &len));
	*port = ntohs(((struct sockaddr_in *)&addr)->sin_port);
	return fd;
}

static void pair(int i, int family, unsigned short port, int l)
{
	struct sockaddr_storage addr;
	socklen_t len = local(family, port, &addr);

	near[i] = socket(family, SOCK_STREAM, 0);
	CHECK(!connect(near[i], (struct sockaddr *)&addr, len));
	far[i] = accept(l, NULL, NULL);
	CHECK(far[i] >= 0);
}

static unsigned char byte_at(size_t i) { return (unsigned char)(i * 7 + i / 251); }

static size_t fill(int fd, size_t most)
{
	static unsigned char buf[65536];
	size_t done = 0;

	while (done < most) {
		size_t want = most - done < sizeof(buf) ? most - done : sizeof(buf);
		for (size_t i = 0; i < want; i++)
			buf[i] = byte_at(done + i);
		ssize_t n = send(fd, buf, want, MSG_DONTWAIT);
		if (n < 0)
			break;
		done += (size_t)n;
	}
	CHECK(done > 0);
	return done;
}

static void drain(int fd, size_t all)
{
	static unsigned char buf[65536];

	for (size_t done = 0; done < all;) {
		ssize_t n = recv(fd, buf, sizeof(buf) < all - done ? sizeof(buf) : all - done, 0);
		CHECK(n > 0);
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != byte_at(done + (size_t)i))
				kind_fail("byte %zu of %zu is wrong", done + (size_t)i, all);
		done += (size_t)n;
	}
}

static void check_names(int i, unsigned short port, const struct sockaddr_storage *before)
{
	struct sockaddr_storage a, b;
	socklen_t alen = sizeof(a), blen = sizeof(b);

	CHECK(!getsockname(near[i], (struct sockaddr *)&a, &alen));
	CHECK(!getpeername(far[i], (struct sockaddr *)&b, &blen));
	CHECK_EQ(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
	                                : ((struct sockaddr_in6 *)&a)->sin6_port,
	         b.ss_family == AF_INET ? ((struct sockaddr_in *)&b)->sin_port
	                                : ((struct sockaddr_in6 *)&b)->sin6_port);
	CHECK(!memcmp(&a, before, alen));
	CHECK(!getsockname(far[i], (struct sockaddr *)&b, &blen));
	CHECK_EQ(ntohs(((struct sockaddr_in *)&b)->sin_port), port);
}

static void check_talk(int i)
{
	char buf[8];

	CHECK_EQ(send(near[i], "ping", 4, 0), 4);
	CHECK_EQ(recv(far[i], buf, 8, 0), 4);
	CHECK_EQ(send(far[i], "pong!", 5, 0), 5);
	CHECK_EQ(recv(near[i], buf, 8, 0), 5);
}

static int child(void *arg)
{
	volatile int *ready = arg;
	char c;

	for (int i = 0; i < PAIRS; i++)
		close(near[i]);
	__atomic_store_n(ready, 1, __ATOMIC_RELEASE);
	kind_wait();
	CHECK_EQ(recv(far[1], &c, 1, MSG_PEEK), 1); /* shared with the parent */
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_storage names[PAIRS];
	unsigned short port[PAIRS] = { 0 };
	volatile int *ready;
	int buffers, fresh;
	socklen_t len;
	char buf[9];
	pid_t pid;

	kind_init(argc, argv);
	listener[0] = make_listener(AF_INET, &port[0], SO_REUSEADDR, false);
	listener[1] = make_listener(AF_INET6, &port[1], 0, false);
	listener[2] = make_listener(AF_INET6, &port[2], SO_REUSEPORT, true);
	listener[3] = make_listener(AF_INET6, &port[2], SO_REUSEPORT, true);
	fresh = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	set(fresh, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	set(fresh, IPPROTO_TCP, TCP_MAXSEG, 1000);
	pair(0, AF_INET, port[0], listener[0]);
	pair(1, AF_INET6, port[1], listener[1]);
	set(listener[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
	close(listener[3]);
	pair(2, AF_INET, port[2], listener[2]); /* far[2] is AF_INET6, v4-mapped */
	listener[3] = make_listener(AF_INET6, &port[2], SO_REUSEPORT, true);
	for (int i = 0; i < PAIRS; i++) {
		len = sizeof(names[i]);
		memset(&names[i], 0, len);
		CHECK(!getsockname(near[i], (struct sockaddr *)&names[i], &len));
	}
	set(near[0], SOL_SOCKET, SO_SNDBUF, 4 << 20);
	set(near[0], IPPROTO_TCP, TCP_NODELAY, 1);
	set(near[1], SOL_SOCKET, SO_REUSEADDR, 1);
	set(near[1], SOL_SOCKET, SO_KEEPALIVE, 1);
	set(near[1], IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set(far[1], IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
	CHECK(!setsockopt(far[2], IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	buffers = get(near[0], SOL_SOCKET, SO_SNDBUF);
	queued[0] = fill(near[0], BIG);
	CHECK_EQ(send(far[0], "answer", 6, 0), 6);
	queued[1] = fill(near[1], 100000);
	queued[2] = fill(far[2], BIG); /* until nothing more fits */
	set(near[2], IPPROTO_TCP, TCP_CORK, 1);
	CHECK_EQ(send(near[2], "corked", 6, 0), 6);
	ready = kind_shared(sizeof(*ready));
	pid = kind_fork(child, (void *)(uintptr_t)ready);
	kind_until(ready, 1);
	kind_ready();

	for (int i = 0; i < PAIRS; i++)
		check_names(i, port[i], &names[i]);
	CHECK_EQ(get(near[0], SOL_SOCKET, SO_SNDBUF), buffers);
	CHECK_EQ(get(near[0], IPPROTO_TCP, TCP_NODELAY), 1);
	CHECK_EQ(get(near[1], SOL_SOCKET, SO_REUSEADDR), 1);
	CHECK_EQ(get(near[1], SOL_SOCKET, SO_KEEPALIVE), 1);
	CHECK_EQ(get(near[1], IPPROTO_TCP, TCP_KEEPIDLE), 77);
	CHECK_EQ(get(far[1], IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
	CHECK_EQ(get(near[2], IPPROTO_TCP, TCP_CORK), 1);
	CHECK_EQ(get(listener[0], SOL_SOCKET, SO_REUSEADDR), 1);
	CHECK_EQ(get(listener[1], SOL_SOCKET, SO_REUSEADDR), 0);
	CHECK_EQ(get(listener[3], SOL_SOCKET, SO_REUSEPORT), 1);
	CHECK_EQ(get(fresh, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	CHECK_EQ(get(fresh, IPPROTO_TCP, TCP_MAXSEG), 1000);
	CHECK_EQ(fcntl(fresh, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	len = 5;
	CHECK(!getsockopt(far[2], IPPROTO_TCP, TCP_CONGESTION, buf, &len) && !strncmp(buf, "reno", 4));
	kind_join(pid);
	drain(far[0], queued[0]);
	CHECK_EQ(recv(near[0], buf, 9, 0), 6);
	drain(far[1], queued[1]);
	drain(near[2], queued[2]);
	set(near[2], IPPROTO_TCP, TCP_CORK, 0);
	CHECK_EQ(recv(far[2], buf, 9, 0), 6);
	for (int i = 0; i < PAIRS; i++)
		check_talk(i);
	/* Each listening socket still takes connections, and each end sees the other close. */
	for (int i = 0; i < 2; i++) {
		close(near[i]);
		CHECK_EQ(recv(far[i], buf, 9, 0), 0);
		pair(i, i ? AF_INET6 : AF_INET, port[i], listener[i]);
		check_talk(i);
	}
	kind_pass();
}
