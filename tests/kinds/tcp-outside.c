/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to a process outside of the tree that never stops talking and
 * listening: one that it made and one that was made to it. Each side counts and
 * checks every byte, to the end of the stream.
 */
#include "kind.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define CHUNK 8192

struct talk {
	int fd;
	uint64_t sent, received;
	bool end_sent, end_seen;
};

static unsigned char byte_at(uint64_t i, int salt)
{
	return (unsigned char)((i * 2654435761u >> 7) + (unsigned)salt);
}

/* One step of both directions; false when both are at their end. */
static bool step(struct talk *t, int salt, bool finish)
{
	unsigned char buf[CHUNK];
	ssize_t n;

	if (!t->end_sent) {
		for (unsigned i = 0; i < CHUNK; i++)
			buf[i] = byte_at(t->sent + i, salt);
		n = finish ? 0 : send(t->fd, buf, CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL);
		CHECK(n >= 0 || errno == EAGAIN || errno == EINTR);
		t->sent += n > 0 ? (uint64_t)n : 0;
		if (finish) {
			CHECK(!shutdown(t->fd, SHUT_WR));
			t->end_sent = true;
		}
	}
	n = t->end_seen ? -2 : recv(t->fd, buf, CHUNK, MSG_DONTWAIT);
	CHECK(n >= 0 || n == -2 || errno == EAGAIN || errno == EINTR);
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != byte_at(t->received + (uint64_t)i, !salt))
			kind_fail("byte %llu is wrong", (unsigned long long)(t->received + (uint64_t)i));
	t->received += n > 0 ? (uint64_t)n : 0;
	t->end_seen |= n == 0;
	return !(t->end_sent && t->end_seen);
}

static void talk(struct talk t[2], int salt, bool (*over)(const struct talk *))
{
	bool going = true;

	while (going) {
		bool a = step(&t[0], salt, over(&t[0])), b = step(&t[1], salt, over(&t[1]));
		going = a || b;
		nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
	}
	for (int i = 0; i < 2; i++)
		CHECK(t[i].sent > CHUNK && t[i].received > CHUNK);
}

static bool we_finish(const struct talk *t) { return kind_over(); }
static bool peer_finishes(const struct talk *t) { return t->end_seen; }

static int make_listener(struct sockaddr_in *ret)
{
	socklen_t len = sizeof(*ret);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(!bind(fd, (struct sockaddr *)ret, len) && !listen(fd, 1));
	CHECK(!getsockname(fd, (struct sockaddr *)ret, &len));
	return fd;
}

/* In a process that is no child of the tree. */
static void run_peer(int theirs, const struct sockaddr_in *addr, int ours)
{
	struct talk t[2] = { { 0 } };

	close(theirs);
	alarm(100); /* should the tree be gone */
	t[0].fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(t[0].fd, (const struct sockaddr *)addr, sizeof(*addr)));
	t[1].fd = accept(ours, NULL, NULL);
	CHECK(t[1].fd >= 0);
	close(ours);
	talk(t, 1, peer_finishes);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr, other;
	struct talk t[2] = { { 0 } };
	int l, theirs;
	pid_t pid;

	kind_init(argc, argv);
	l = make_listener(&addr);
	theirs = make_listener(&other);
	pid = fork();
	if (!pid) {
		if (!fork()) {
			setsid();
			run_peer(l, &addr, theirs);
		}
		_exit(0);
	}
	kind_join(pid);
	close(theirs);
	t[0].fd = accept(l, NULL, NULL);
	t[1].fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(t[0].fd >= 0 && !connect(t[1].fd, (struct sockaddr *)&other, sizeof(other)));
	for (int i = 0; i < 50; i++) {
		step(&t[0], 0, false);
		step(&t[1], 0, false);
	}
	kind_busy();
	kind_announce();
	talk(t, 0, we_finish);
	kind_pass();
}
