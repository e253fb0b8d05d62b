/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors in flight: of files, pipes, events and sockets, TCP too, that nobody else
 * has; several with one message, amid bytes without, in sockets that are in
 * flight themselves, and a socket in its own queue.
 */
#include "kind.h"

#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

static void post(int to, const char *text, const int *fds, unsigned n)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec io = { (char *)(uintptr_t)text, strlen(text) };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	CHECK_EQ(sendmsg(to, &h, 0), strlen(text));
}

static void post_one(int to, const char *text, int fd) { post(to, text, &fd, 1); }

/* A message of this text with so many descriptors. */
static void take(int from, const char *text, int *fds, unsigned n)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))), buf[64] = "";
	struct iovec io = { buf, strlen(text) };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	CHECK_EQ(recvmsg(from, &h, MSG_DONTWAIT), strlen(text));
	CHECK_STR(buf, text);
	c = CMSG_FIRSTHDR(&h);
	if (!c != !n)
		kind_fail("\"%s\" comes with%s descriptors", text, c ? "" : "out");
	if (!n)
		return;
	CHECK(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(n * sizeof(int)));
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
}

static int take_one(int from, const char *text)
{
	int fd;

	take(from, text, &fd, 1);
	return fd;
}

static int file_at(const char *name, int offset)
{
	int fd = open(kind_path(name), O_RDWR | O_CREAT, 0666);

	CHECK(fd >= 0 && write(fd, "0123456789", 10) == 10 && lseek(fd, offset, SEEK_SET) == offset);
	return fd;
}

static void empty(int fd)
{
	char c;

	CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

/* A client, the other end of its connection with a byte in it, and the socket that listens. */
static void connection(int *client, int ends[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	*client = socket(AF_INET, SOCK_STREAM, 0);
	ends[1] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!bind(ends[1], (struct sockaddr *)&at, len) && !listen(ends[1], 4) &&
	      !getsockname(ends[1], (struct sockaddr *)&at, &len));
	CHECK(!connect(*client, (struct sockaddr *)&at, len));
	ends[0] = accept(ends[1], NULL, NULL);
	CHECK(ends[0] >= 0 && write(*client, "1", 1) == 1);
}

static void goes_on(int client, const int ends[2])
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	int another = socket(AF_INET, SOCK_STREAM, 0);
	char buf[2];

	CHECK(write(client, "2", 1) == 1 && recv(ends[0], buf, 2, MSG_WAITALL) == 2);
	CHECK(buf[0] == '1' && buf[1] == '2' && write(ends[0], "3", 1) == 1);
	CHECK(read(client, buf, 1) == 1 && buf[0] == '3');
	CHECK(!getsockname(ends[1], (struct sockaddr *)&at, &len));
	CHECK(!connect(another, (struct sockaddr *)&at, len) && accept(ends[1], NULL, NULL) >= 0);
}

int main(int argc, char **argv)
{
	int stream[2], packets[2], datagrams[2], self[2], nested[2], inner[2], p[2], three[3], kept, e, m;
	int client;
	uint64_t count = 7;
	char buf[16] = "";

	kind_init(argc, argv);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, stream) && !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) && !socketpair(AF_UNIX, SOCK_STREAM, 0, self));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, nested) && !socketpair(AF_UNIX, SOCK_STREAM, 0, inner));
	CHECK(!pipe(p) && write(p[1], "in the pipe", 11) == 11);
	e = eventfd(7, EFD_NONBLOCK);
	m = memfd_create("flying", 0);
	CHECK(e >= 0 && m >= 0 && write(m, "memory", 6) == 6);
	kept = file_at("kept", 2);

	CHECK_EQ(write(stream[0], "plain", 5), 5);
	three[0] = file_at("one", 4), three[1] = p[0], three[2] = e;
	post(stream[0], "three", three, 3);
	close(three[0]);
	CHECK_EQ(write(stream[0], "more", 4), 4);
	post_one(stream[0], "kept", kept);
	post_one(stream[0], "memory", m);
	connection(&client, three);
	post(stream[0], "tcp", three, 2);
	close(three[0]), close(three[1]);
	post_one(packets[0], "a", p[1]);
	post_one(packets[0], "b", m);
	post_one(datagrams[1], "data", kept);
	post_one(self[0], "me", self[1]); /* it is in its own queue, and nowhere else */
	post_one(inner[0], "deepest", m);
	post_one(nested[0], "deep", inner[1]);
	close(p[0]), close(p[1]), close(e), close(m), close(inner[1]);
	kind_ready();

	take(stream[1], "plain", NULL, 0);
	take(stream[1], "three", three, 3);
	CHECK(read(three[0], buf, 3) == 3 && !memcmp(buf, "456", 3));
	CHECK(read(three[1], buf, 11) == 11 && !memcmp(buf, "in the pipe", 11));
	CHECK(read(three[2], &count, 8) == 8 && count == 7);
	take(stream[1], "more", NULL, 0);
	e = take_one(stream[1], "kept");
	CHECK(lseek(kept, 5, SEEK_SET) == 5 && lseek(e, 0, SEEK_CUR) == 5); /* one description */
	m = take_one(stream[1], "memory");
	CHECK(pread(m, buf, 6, 0) == 6 && !memcmp(buf, "memory", 6));
	p[0] = three[1];
	take(stream[1], "tcp", three, 2);
	goes_on(client, three);
	p[1] = take_one(packets[1], "a");
	CHECK(write(p[1], "x", 1) == 1 && read(p[0], buf, 1) == 1);
	CHECK_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0, m, take_one(packets[1], "b")), 0);
	CHECK_EQ(lseek(take_one(datagrams[0], "data"), 0, SEEK_CUR), 5);
	e = take_one(self[1], "me");
	close(self[1]);
	CHECK(write(e, "still", 5) == 5 && read(self[0], buf, 5) == 5);
	inner[1] = take_one(nested[1], "deep");
	CHECK(write(inner[0], "!", 1) == 1);
	CHECK_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0, m, take_one(inner[1], "deepest")), 0);
	CHECK(read(inner[1], buf, 1) == 1);
	empty(stream[1]), empty(packets[1]), empty(datagrams[0]), empty(nested[1]), empty(inner[1]);
	kind_pass();
}
