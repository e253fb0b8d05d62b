/* SPDX-License-Identifier: Apache-2.0 */
/* epoll: 1,000 registrations of all sorts of files, hardly any of which is still at the number under
 * which it was registered: most of these numbers are some other file's, others are free. */
#include "kind.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define ALL 1000
#define LOW 100 /* numbers that are used again and again */
#define LOWS 300
#define HIGH 1000

static int ep;
static unsigned seed = 1;
static struct { int reads, writes; uint32_t events; } all[ALL];

static unsigned any(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16 & 0x7fff) % n;
}

static void open_one(int fd[2], unsigned sort)
{
	if (sort == 0)
		CHECK(!pipe(fd));
	else if (sort == 1)
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	else
		CHECK((fd[0] = eventfd(0, EFD_NONBLOCK)) >= 0 && (fd[1] = dup(fd[0])) >= 0);
}

static void add(int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };
	int number = LOW + (int)any(LOWS);

	CHECK_EQ(dup2(fd, number), number);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, number, &e));
}

static void set_up(unsigned i)
{
	int fd[2];

	open_one(fd, any(3));
	all[i].reads = fcntl(fd[0], F_DUPFD, HIGH + (int)any(4 * ALL));
	all[i].writes = fcntl(fd[1], F_DUPFD, HIGH + (int)any(4 * ALL));
	CHECK(all[i].reads >= 0 && all[i].writes >= 0 && !close(fd[0]) && !close(fd[1]));
	all[i].events = EPOLLIN | (any(3) ? 0 : EPOLLET) | (any(4) ? 0 : EPOLLONESHOT);
	add(all[i].reads, all[i].events, i);
}

/* Reports of it, and of nothing else. */
static int reports(unsigned i)
{
	struct epoll_event e[4];
	int n = epoll_wait(ep, e, 4, 0);

	CHECK(n >= 0);
	for (int k = 0; k < n; k++)
		CHECK_EQ(e[k].data.u64, i);
	return n;
}

static void check(unsigned i)
{
	uint64_t one = 1;

	CHECK_EQ(write(all[i].writes, &one, sizeof(one)), sizeof(one));
	CHECK_EQ(reports(i), 1);
	CHECK_EQ(reports(i), all[i].events == EPOLLIN);
	CHECK_EQ(read(all[i].reads, &one, sizeof(one)), sizeof(one));
	CHECK_EQ(reports(i), 0);
}

int main(int argc, char **argv)
{
	struct rlimit most;

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_NOFILE, &most));
	most.rlim_cur = most.rlim_max;
	if (most.rlim_max < HIGH + 6 * ALL)
		kind_skip("RLIMIT_NOFILE is too low");
	CHECK(!setrlimit(RLIMIT_NOFILE, &most));
	ep = epoll_create1(0);
	for (unsigned i = 0; i < ALL; i++)
		set_up(i);
	for (int fd = LOW; fd < LOW + LOWS; fd += 3)
		close(fd);
	kind_ready();
	for (unsigned i = 0; i < ALL; i++)
		check(i);
	kind_pass();
}
