/* SPDX-License-Identifier: Apache-2.0 */
/* Pairs of sockets: what waits in them with its boundaries, shutdowns, closed peers, options. */
#include "kind.h"

#include <poll.h>
#include <sys/socket.h>

#define BIG 150000

static int stream[2], packets[2], datagrams[2], half[2], gone[2], reset[2], creds[2], lonely;

static int child(void *arg)
{
	char c;

	close(stream[0]);
	CHECK_EQ(write(stream[1], "child", 5), 5);
	CHECK_EQ(read(stream[1], &c, 1), 1); /* waits in it while it is dumped */
	CHECK_EQ(c, 'x');
	CHECK_EQ(write(stream[1], "more", 4), 4);
	return 0;
}

static int get(int fd, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(!getsockopt(fd, SOL_SOCKET, option, &v, &len));
	return v;
}

static void set(int fd, int option, int v) { CHECK(!setsockopt(fd, SOL_SOCKET, option, &v, sizeof(v))); }

static void fill(void)
{
	static char big[BIG];
	struct timeval t = { 7, 500000 };

	memset(big, 'b', BIG);
	set(half[0], SO_SNDBUF, 400000);
	CHECK_EQ(write(half[0], big, BIG), BIG);
	CHECK(!shutdown(half[0], SHUT_WR));
	CHECK_EQ(send(packets[0], "one", 3, 0), 3);
	CHECK_EQ(send(packets[0], "three", 5, 0), 5);
	CHECK_EQ(send(datagrams[1], big, 70000, 0), 70000);
	CHECK_EQ(send(datagrams[1], "b", 1, 0), 1);
	CHECK_EQ(write(gone[1], "last words", 10), 10);
	close(gone[1]);
	CHECK_EQ(write(reset[0], "unread", 6), 6);
	close(reset[1]);
	set(creds[0], SO_PASSCRED, 1);
	CHECK_EQ(write(creds[1], "who", 3), 3);
	set(packets[1], SO_PEEK_OFF, 3);
	CHECK(!setsockopt(datagrams[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	set(datagrams[0], SO_RCVBUF, 50000);
	set(lonely, SO_KEEPALIVE, 1);
}

static void check_queues(void)
{
	static char buf[BIG + 1];
	ssize_t n, got = 0;

	CHECK_EQ(recv(packets[1], buf, 9, 0), 3);
	CHECK_EQ(recv(packets[1], buf, 9, 0), 5);
	CHECK(recv(packets[1], buf, 9, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	CHECK_EQ(recv(datagrams[0], buf, BIG, 0), 70000);
	CHECK(buf[69999] == 'b' && recv(datagrams[0], buf, BIG, 0) == 1);
	while ((n = read(half[1], buf, BIG)) > 0)
		got += n;
	CHECK(n == 0 && got == BIG);
	CHECK_EQ(write(half[1], "back", 4), 4);
	CHECK(read(half[0], buf, 9) == 4 && send(half[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	CHECK_EQ(read(gone[0], buf, 99), 10);
	CHECK(!memcmp(buf, "last words", 10) && read(gone[0], buf, 9) == 0);
	CHECK(send(gone[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	CHECK(read(reset[0], buf, 9) < 0 && errno == ECONNRESET);
	CHECK_EQ(read(reset[0], buf, 9), 0);
}

static void check_creds(void)
{
	char buf[9], control[64];
	struct iovec io = { buf, sizeof(buf) };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct ucred cred;

	CHECK_EQ(recvmsg(creds[0], &h, 0), 3);
	CHECK(CMSG_FIRSTHDR(&h) && CMSG_FIRSTHDR(&h)->cmsg_type == SCM_CREDENTIALS);
	memcpy(&cred, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(cred));
	CHECK_EQ(cred.pid, getpid());
	CHECK_EQ(cred.uid, getuid());
}

int main(int argc, char **argv)
{
	struct timeval t;
	socklen_t len = sizeof(t);
	int sent, received;
	char buf[16] = "";
	pid_t pid;

	kind_init(argc, argv);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, half) && !socketpair(AF_UNIX, SOCK_STREAM, 0, gone));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, creds));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, reset));
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams));
	lonely = socket(AF_UNIX, SOCK_STREAM, 0);
	fill();
	sent = get(half[0], SO_SNDBUF);
	received = get(datagrams[0], SO_RCVBUF);
	pid = kind_fork(child, NULL);
	close(stream[1]);
	/* The child has its word in the queue and sleeps in read. */
	while (recv(stream[0], buf, 5, MSG_PEEK | MSG_WAITALL) != 5)
		;
	kind_until_state(pid, pid, 'S');
	kind_ready();

	struct ucred maker;
	len = sizeof(maker);
	CHECK(!getsockopt(packets[0], SOL_SOCKET, SO_PEERCRED, &maker, &len) && maker.pid == getpid());
	len = sizeof(t);
	CHECK_EQ(get(packets[1], SO_PEEK_OFF), 3);
	CHECK_EQ(get(half[0], SO_SNDBUF), sent);
	CHECK_EQ(get(datagrams[0], SO_RCVBUF), received);
	CHECK(!getsockopt(datagrams[0], SOL_SOCKET, SO_RCVTIMEO, &t, &len));
	CHECK(t.tv_sec == 7 && t.tv_usec == 500000);
	CHECK(get(lonely, SO_KEEPALIVE) == 1 && get(creds[0], SO_PASSCRED) == 1);
	CHECK_EQ(fcntl(creds[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_EQ(fcntl(stream[0], F_GETFL) & O_NONBLOCK, 0);
	check_queues();
	check_creds();
	CHECK_EQ(read(stream[0], buf, 5), 5);
	CHECK_STR(buf, "child");
	CHECK_EQ(write(stream[0], "x", 1), 1);
	CHECK_EQ(read(stream[0], buf, 9), 4);
	kind_join(pid);
	CHECK_EQ(read(stream[0], buf, 9), 0);
	kind_pass();
}
