/* SPDX-License-Identifier: Apache-2.0 */
/* Connections within the tree that nobody has accepted yet, with what waits in them: they are
 * accepted in their order, whoever listens at the same port beside. */
#include "kind.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum end { OPEN, FULL, SHUT, CLOSED, RESET };
static const struct one {
	enum end end;
	size_t size;
} all[] = {
	{ OPEN, 0 }, { OPEN, 1 }, { SHUT, 5000 }, { FULL, 4 << 20 }, { CLOSED, 300 }, { RESET, 300 },
	{ SHUT, 0 }, { CLOSED, 0 }, { OPEN, 30000 },
};
#define ALL (int)(sizeof(all) / sizeof(*all))

#define MOST (4 * ALL)

/* A listening socket, and who waits there. */
static struct place {
	int family, to, listener, n;
	struct client {
		const struct one *shape;
		int fd;
		uint16_t port;
		size_t sent;
	} client[MOST];
} places[] = {
	{ AF_INET, AF_INET }, { AF_INET6, AF_INET6 }, { AF_INET6, AF_INET }, { AF_INET, AF_INET },
	{ AF_INET, AF_INET },
};
#define PLACES (int)(sizeof(places) / sizeof(*places))
#define GROUP 3 /* the last ones have one port, and the kernel chooses */

static char bytes[4 << 20];

static uint16_t port_of(int s, bool remote)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	CHECK(!(remote ? getpeername : getsockname)(s, (struct sockaddr *)&a, &len));
	return a.sin6_port; /* at the same place in both families */
}

static void begin_listening(struct place *p, int i)
{
	struct sockaddr_in6 a = { .sin6_family = (sa_family_t)p->family };
	int on = 1;

	p->listener = socket(p->family, SOCK_STREAM, 0);
	CHECK(p->listener >= 0);
	if (i >= GROUP)
		CHECK(!setsockopt(p->listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
	if (i > GROUP)
		a.sin6_port = port_of(places[GROUP].listener, false);
	CHECK(!bind(p->listener, (struct sockaddr *)&a,
	            p->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(a)));
	CHECK(!listen(p->listener, i < GROUP ? ALL - 1 : MOST)); /* which lets in one more */
}

static int connect_to(const struct place *p)
{
	struct sockaddr_in6 a = { .sin6_family = (sa_family_t)p->to, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in *in = (struct sockaddr_in *)&a;
	int s = socket(p->to, SOCK_STREAM, 0);

	if (p->to == AF_INET)
		*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	a.sin6_port = port_of(p->listener, false);
	CHECK(s >= 0 && !connect(s, (struct sockaddr *)&a, p->to == AF_INET ? sizeof(*in) : sizeof(a)));
	return s;
}

static int waiting(const struct place *p)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	CHECK(!getsockopt(p->listener, IPPROTO_TCP, TCP_INFO, &info, &len));
	return (int)info.tcpi_unacked;
}

static void send_all(struct client *c)
{
	const struct one *o = c->shape;

	while (c->sent < o->size) {
		ssize_t n = send(c->fd, bytes + c->sent, o->size - c->sent, o->end == FULL ? MSG_DONTWAIT : 0);
		if (n < 0 && o->end == FULL && errno == EAGAIN)
			break;
		CHECK(n > 0);
		c->sent += (size_t)n;
	}
}

static void set_up(struct place *p, const struct one *o)
{
	struct client c = { .shape = o, .fd = connect_to(p) };
	struct linger now = { 1, 0 };

	c.port = port_of(c.fd, false);
	for (struct place *first = p; waiting(p) == p->n; usleep(100))
		p = p == first && p == &places[GROUP] ? p + 1 : first;
	send_all(&c);
	if (o->end == SHUT)
		CHECK(!shutdown(c.fd, SHUT_WR));
	if (o->end == RESET)
		CHECK(!setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	if (o->end >= CLOSED)
		CHECK(!close(c.fd));
	p->client[p->n++] = c;
}

static void check(const struct place *p, const struct client *c)
{
	const struct one *o = c->shape;
	int s = accept(p->listener, NULL, NULL);
	static char buf[1 << 20];

	CHECK(s >= 0);
	if (o->end != RESET)
		CHECK_EQ(port_of(s, true), c->port);
	for (size_t got = 0; got < c->sent;) {
		size_t left = c->sent - got;
		ssize_t n = recv(s, buf, left < sizeof(buf) ? left : sizeof(buf), 0);
		CHECK(n > 0);
		CHECK(!memcmp(buf, bytes + got, (size_t)n));
		got += (size_t)n;
	}
	if (o->end == RESET)
		CHECK(recv(s, buf, 1, 0) < 0 && errno == ECONNRESET);
	else if (o->end >= SHUT)
		CHECK_EQ(recv(s, buf, 1, 0), 0);
	else
		CHECK(recv(s, buf, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	if (o->end <= SHUT) {
		CHECK_EQ(send(s, "back", 4, 0), 4);
		CHECK_EQ(recv(c->fd, buf, 4, MSG_WAITALL), 4);
		CHECK(!close(c->fd));
	}
	CHECK(!close(s));
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7 + i / 251);
	for (int n = 0; n < PLACES; n++)
		begin_listening(&places[n], n);
	for (int n = 0; n <= GROUP; n++)
		for (int i = 0; i < (n == GROUP ? 2 * ALL : ALL); i++)
			set_up(&places[n], &all[i % ALL]);
	kind_ready();
	for (int n = 0; n < PLACES; n++) {
		CHECK_EQ(waiting(&places[n]), places[n].n);
		for (int i = 0; i < places[n].n; i++)
			check(&places[n], &places[n].client[i]);
	}
	kind_pass();
}
