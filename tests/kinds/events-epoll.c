/* SPDX-License-Identifier: Apache-2.0 */
/* epoll: what is registered, level and edge, oneshot armed and spent, nested, exclusive,
 * a child that waits, a signalfd. */
#include "kind.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

static int ep, inner, edge, level, armed, spent, quiet, sfd, exclusive, waited, trigger;

static void add(int to, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };

	CHECK(!epoll_ctl(to, EPOLL_CTL_ADD, fd, &e));
}

/* Each of the tags must be reported once, and no other. */
static void expect(int from, uint64_t *tags, int n)
{
	struct epoll_event e[16];
	int got = epoll_wait(from, e, 16, 0);

	for (int i = 0; i < got; i++) {
		int k;
		for (k = 0; k < n && tags[k] != e[i].data.u64; k++)
			;
		if (k == n)
			kind_fail("unexpected report %#llx of events %#x", (unsigned long long)e[i].data.u64,
			          e[i].events);
	}
	CHECK_EQ(got, n);
}

static int child(void *arg)
{
	struct epoll_event e;
	int n;

	while ((n = epoll_wait(waited, &e, 1, -1)) < 0)
		CHECK(errno == EINTR);
	CHECK_EQ(n, 1);
	CHECK_EQ(e.data.u64, 77);
	return 0;
}

static void bump(int fd)
{
	uint64_t one = 1;

	CHECK_EQ(write(fd, &one, sizeof(one)), 8);
}

int main(int argc, char **argv)
{
	struct epoll_event e;
	sigset_t set;
	pid_t pid;

	kind_init(argc, argv);
	ep = epoll_create1(EPOLL_CLOEXEC);
	inner = epoll_create1(0);
	waited = epoll_create1(0);
	edge = eventfd(0, 0);
	level = eventfd(1, 0);
	armed = eventfd(0, 0);
	spent = eventfd(1, 0);
	quiet = eventfd(0, 0);
	exclusive = eventfd(0, 0);
	trigger = eventfd(0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	sfd = signalfd(-1, &set, 0);
	add(ep, spent, EPOLLIN | EPOLLONESHOT, 0xfeedfacecafe0001);
	expect(ep, (uint64_t[]){ 0xfeedfacecafe0001 }, 1);
	add(ep, level, EPOLLIN, 3);
	add(ep, edge, EPOLLIN | EPOLLET, 4);
	add(ep, armed, EPOLLIN | EPOLLONESHOT, 5);
	add(ep, sfd, EPOLLIN, 6);
	add(ep, exclusive, EPOLLIN | EPOLLEXCLUSIVE, 7);
	add(ep, inner, EPOLLIN, 8);
	add(ep, quiet, 0, 9);
	add(inner, trigger, EPOLLIN, 10);
	bump(edge); /* an edge that nobody has seen */
	add(waited, trigger, EPOLLIN, 77);
	pid = kind_fork(child, NULL);
	kind_until_state(pid, pid, 'S');
	kind_ready();

	expect(ep, (uint64_t[]){ 3, 4 }, 2);
	expect(ep, (uint64_t[]){ 3 }, 1);
	bump(spent);
	expect(ep, (uint64_t[]){ 3 }, 1); /* spent stays spent */
	bump(trigger);
	kind_join(pid);
	bump(edge);
	bump(armed);
	bump(exclusive);
	bump(quiet);
	CHECK(!kill(getpid(), SIGUSR2));
	expect(ep, (uint64_t[]){ 3, 4, 5, 6, 7, 8 }, 6);
	expect(ep, (uint64_t[]){ 3, 6, 7, 8 }, 4);
	expect(inner, (uint64_t[]){ 10 }, 1);
	e = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 20 };
	CHECK(!epoll_ctl(ep, EPOLL_CTL_MOD, spent, &e)); /* armed again */
	expect(ep, (uint64_t[]){ 3, 6, 7, 8, 20 }, 5);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_DEL, spent, NULL));
	CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, trigger, NULL) < 0 && errno == ENOENT);
	CHECK_EQ(fcntl(ep, F_GETFD), FD_CLOEXEC);
	kind_pass();
}
