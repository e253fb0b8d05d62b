/* SPDX-License-Identifier: Apache-2.0 */
/* Urgent data: waiting, read already, in line, at the beginning, at the end, alone, behind a megabyte, at an end. */
#include "kind.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/socket.h>

#define BIG (1 << 20)

static const struct one {
	const char *before, *after;
	bool inline_, read, big;
	int family, shut; /* how many ends are shut down */
} all[] = {
	{ "abc", "def", .family = AF_INET },
	{ "abc", "def", .read = true, .family = AF_INET },
	{ "abc", "def", .inline_ = true, .family = AF_INET },
	{ "", "def", .family = AF_INET },
	{ "", "def", .read = true, .family = AF_INET },
	{ "abc", "", .family = AF_INET },
	{ "", "", .family = AF_INET },
	{ "abc", "def", .big = true, .family = AF_INET },
	{ "abc", "def", .family = AF_INET6 },
	{ "abc", "def", .shut = 1, .family = AF_INET },
	{ "abc", "def", .shut = 2, .family = AF_INET },
};
#define ALL (int)(sizeof(all) / sizeof(*all))
static int fd[ALL][2];
static char big[BIG];

static void set(int s, int level, int option, int v)
{
	CHECK(!setsockopt(s, level, option, &v, sizeof(v)));
}

static int waiting(int s)
{
	int n = -1;

	CHECK(!ioctl(s, SIOCINQ, &n));
	return n;
}

static bool pending(int s)
{
	struct pollfd p = { .fd = s, .events = POLLPRI };

	return poll(&p, 1, 0) > 0 && p.revents & POLLPRI;
}

static bool at_mark(int s)
{
	int n = -1;

	CHECK(!ioctl(s, SIOCATMARK, &n));
	return n;
}

static void make_pair(int family, int pair[2])
{
	struct sockaddr_in6 addr = { .sin6_family = (sa_family_t)family };
	socklen_t len = sizeof(addr);
	int l = socket(family, SOCK_STREAM, 0);

	CHECK(l >= 0 && !listen(l, 1) && !getsockname(l, (struct sockaddr *)&addr, &len));
	pair[0] = socket(family, SOCK_STREAM, 0);
	set(pair[0], IPPROTO_TCP, TCP_NODELAY, 1);
	CHECK(!connect(pair[0], (struct sockaddr *)&addr, len));
	pair[1] = accept(l, NULL, NULL);
	CHECK(pair[1] >= 0 && !close(l));
}

static void put(int s, const char *text, int flags)
{
	if (*text)
		CHECK_EQ(send(s, text, strlen(text), flags), (ssize_t)strlen(text));
}

static void take(int s, const char *text)
{
	char got[16] = "";

	if (*text)
		CHECK_EQ(recv(s, got, sizeof(got) - 1, MSG_DONTWAIT), (ssize_t)strlen(text));
	CHECK_STR(got, text);
}

static void prepare(const struct one *o, int pair[2])
{
	size_t len = strlen(o->before) + strlen(o->after) + (o->big ? BIG : 0);
	char byte;

	make_pair(o->family, pair);
	set(pair[1], SOL_SOCKET, SO_OOBINLINE, o->inline_);
	for (size_t sent = 0; o->big && sent < BIG;) {
		set(pair[1], SOL_SOCKET, SO_RCVBUFFORCE, 8 * BIG);
		ssize_t n = send(pair[0], big + sent, BIG - sent, 0);
		CHECK(n > 0);
		sent += (size_t)n;
	}
	put(pair[0], o->before, 0);
	put(pair[0], "!", MSG_OOB);
	put(pair[0], o->after, 0);
	while (!pending(pair[1]))
		usleep(100);
	if (o->read)
		CHECK(recv(pair[1], &byte, 1, MSG_OOB) == 1 && byte == '!');
	for (int i = 0; i < o->shut; i++)
		CHECK(!shutdown(pair[i], SHUT_WR));
	for (int got = -1; got < (int)len;) { /* all of it is there */
		set(pair[1], SOL_SOCKET, SO_OOBINLINE, 1);
		got = waiting(pair[1]);
		set(pair[1], SOL_SOCKET, SO_OOBINLINE, o->inline_);
	}
}

static void check(const struct one *o, int pair[2])
{
	char byte;

	CHECK_EQ(pending(pair[1]), !o->read);
	for (size_t got = 0; o->big && got < BIG;) {
		static char buf[BIG];
		ssize_t n = recv(pair[1], buf, BIG - got, MSG_DONTWAIT);
		CHECK(n > 0 && !memcmp(buf, big + got, (size_t)n));
		got += (size_t)n;
	}
	if (!o->inline_)
		CHECK_EQ(waiting(pair[1]), (int)strlen(o->before));
	CHECK_EQ(at_mark(pair[1]), !*o->before);
	take(pair[1], o->before);
	CHECK(at_mark(pair[1]));
	if (!o->inline_ && !o->read) {
		CHECK(recv(pair[1], &byte, 1, MSG_OOB) == 1 && byte == '!');
		CHECK(!pending(pair[1]));
	}
	if (!o->inline_)
		CHECK(recv(pair[1], &byte, 1, MSG_OOB) < 0 && errno == EINVAL);
	take(pair[1], o->inline_ ? "!def" : o->after);
	if (o->shut) {
		CHECK_EQ(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
		return;
	}
	put(pair[0], "more", 0); /* and it goes on */
	take(pair[1], "more");
	put(pair[1], "back", 0);
	take(pair[0], "back");
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	for (int i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 + i / 251);
	for (int i = 0; i < ALL; i++)
		prepare(&all[i], fd[i]);
	kind_ready();
	for (int i = 0; i < ALL; i++)
		check(&all[i], fd[i]);
	kind_pass();
}
