/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that are half closed, closed or refused, with what waits in them. */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

enum { HALF, FULL, BOTH, LAST, DONE, GONE, PAIRS };

static int listener, waiting[3], a[PAIRS], b[PAIRS], refused, deaf[2];
static size_t queued[PAIRS];
static struct sockaddr_in addr;

static int state_of(int fd)
{
	unsigned char info[8];
	socklen_t len = sizeof(info);

	CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len));
	return info[0];
}

static void until_state(int fd, int state)
{
	for (int i = 0; state_of(fd) != state; i++) {
		if (i > 10000)
			kind_fail("a socket is in state %d, not %d", state_of(fd), state);
		kind_sleep_ms(1);
	}
}

static void pair(int *one, int *other)
{
	*one = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(*one, (struct sockaddr *)&addr, sizeof(addr)));
	*other = accept(listener, NULL, NULL);
	CHECK(*other >= 0);
}

static size_t fill(int fd)
{
	static char buf[65536];
	size_t done = 0;
	ssize_t n;

	memset(buf, 'x', sizeof(buf));
	while ((n = send(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		done += (size_t)n;
	CHECK(done > 0);
	return done;
}

static void drain(int fd, size_t all)
{
	static char buf[65536];
	size_t done = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		done += (size_t)n;
	CHECK_EQ(n, 0);
	CHECK_EQ(done, all);
}

static void refuse(void)
{
	int other = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_addr = addr.sin_addr };
	socklen_t len = sizeof(nobody);
	struct pollfd p;

	CHECK(!bind(other, (struct sockaddr *)&nobody, len));
	CHECK(!getsockname(other, (struct sockaddr *)&nobody, &len));
	refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(connect(refused, (struct sockaddr *)&nobody, len) < 0 && errno == EINPROGRESS);
	p = (struct pollfd){ .fd = refused, .events = POLLOUT };
	CHECK_EQ(poll(&p, 1, 10000), 1);
	CHECK(p.revents & POLLERR);
	close(other);
}

static void set_up(void)
{
	socklen_t len = sizeof(addr);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(!bind(listener, (struct sockaddr *)&addr, len) && !listen(listener, 9));
	CHECK(!getsockname(listener, (struct sockaddr *)&addr, &len));
	for (int i = 0; i < PAIRS; i++)
		pair(&a[i], &b[i]);
	pair(&deaf[0], &deaf[1]);
	CHECK_EQ(send(a[HALF], "half", 4, 0), 4);
	CHECK(!shutdown(a[HALF], SHUT_WR));
	queued[FULL] = fill(a[FULL]);
	CHECK(!shutdown(a[FULL], SHUT_WR));
	queued[BOTH] = fill(a[BOTH]);
	CHECK(!shutdown(a[BOTH], SHUT_WR) && send(b[BOTH], "both", 4, 0) == 4);
	CHECK(!shutdown(b[BOTH], SHUT_WR));
	CHECK(!shutdown(a[LAST], SHUT_WR));
	until_state(b[LAST], TCP_CLOSE_WAIT);
	queued[LAST] = fill(b[LAST]);
	CHECK(!shutdown(b[LAST], SHUT_WR));
	CHECK(send(a[DONE], "done", 4, 0) == 4 && send(b[DONE], "over", 4, 0) == 4);
	CHECK(!shutdown(a[DONE], SHUT_WR));
	until_state(b[DONE], TCP_CLOSE_WAIT);
	CHECK(!shutdown(b[DONE], SHUT_WR));
	CHECK_EQ(send(a[GONE], "unread", 6, 0), 6);
	CHECK_EQ(send(b[GONE], "rest", 4, 0), 4);
	close(b[GONE]);
	CHECK(!shutdown(deaf[0], SHUT_RD));
	for (int i = 0; i < 3; i++) {
		waiting[i] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK(!connect(waiting[i], (struct sockaddr *)&addr, sizeof(addr)));
	}
	refuse();
}

static void check_states(void)
{
	until_state(a[HALF], TCP_FIN_WAIT2);
	until_state(b[HALF], TCP_CLOSE_WAIT);
	until_state(a[FULL], TCP_FIN_WAIT1);
	until_state(b[FULL], TCP_ESTABLISHED);
	until_state(a[BOTH], TCP_CLOSING);
	until_state(b[BOTH], TCP_FIN_WAIT2);
	until_state(a[LAST], TCP_FIN_WAIT2);
	until_state(b[LAST], TCP_LAST_ACK);
	until_state(a[DONE], TCP_CLOSE);
	until_state(b[DONE], TCP_CLOSE);
	until_state(a[GONE], TCP_CLOSE);
	until_state(refused, TCP_CLOSE);
	until_state(deaf[0], TCP_ESTABLISHED);
}

static void check_broken(int fd)
{
	CHECK(send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
}

static void check_rest(void)
{
	struct sockaddr_in name;
	socklen_t len = sizeof(name);
	char buf[9];

	CHECK_EQ(recv(b[HALF], buf, 9, 0), 4);
	CHECK_EQ(recv(b[HALF], buf, 9, 0), 0);
	CHECK_EQ(send(b[HALF], "back", 4, 0), 4);
	CHECK_EQ(recv(a[HALF], buf, 9, 0), 4);
	check_broken(a[HALF]);
	close(b[HALF]);
	CHECK_EQ(recv(a[HALF], buf, 9, 0), 0);
	CHECK_EQ(send(b[FULL], "well", 4, 0), 4);
	drain(b[FULL], queued[FULL]);
	CHECK_EQ(recv(a[FULL], buf, 9, 0), 4);
	drain(b[BOTH], queued[BOTH]);
	drain(a[BOTH], 4);
	drain(a[LAST], queued[LAST]);
	drain(b[LAST], 0);
	CHECK(!getsockname(b[DONE], (struct sockaddr *)&name, &len));
	CHECK_EQ(name.sin_port, addr.sin_port);
	drain(a[DONE], 4);
	drain(b[DONE], 4);
	check_broken(a[DONE]);
	CHECK(getpeername(a[DONE], (struct sockaddr *)&name, &len) < 0 && errno == ENOTCONN);
	CHECK(recv(a[GONE], buf, 9, 0) == 4 || errno == ECONNRESET);
	CHECK(recv(refused, buf, 9, 0) < 0 && errno == ECONNREFUSED);
	CHECK_EQ(recv(deaf[0], buf, 9, 0), 0);
	CHECK_EQ(send(deaf[0], "deaf", 4, 0), 4);
	CHECK_EQ(recv(deaf[1], buf, 9, 0), 4);
	for (int i = 0; i < 3; i++) {
		struct sockaddr_in other;
		socklen_t olen = sizeof(other);
		int fd = accept(listener, (struct sockaddr *)&other, &olen);
		CHECK(!getsockname(waiting[i], (struct sockaddr *)&name, &len));
		CHECK_EQ(name.sin_port, other.sin_port);
		CHECK(send(waiting[i], "hi", 2, 0) == 2 && recv(fd, buf, 9, 0) == 2);
	}
	until_state(a[FULL], TCP_FIN_WAIT2);
	close(b[FULL]);
	until_state(a[FULL], TCP_CLOSE);
	until_state(b[LAST], TCP_CLOSE);
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	set_up();
	check_states();
	kind_ready();
	check_states();
	check_rest();
	kind_pass();
}
