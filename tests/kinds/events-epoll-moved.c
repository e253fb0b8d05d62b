/* SPDX-License-Identifier: Apache-2.0 */
/* epoll: registered under numbers that are closed, or lead elsewhere, or are another task's. */
#include "kind.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int ep, child_only[2], ready[2];

static void add(int fd, uint64_t data)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = data };

	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

static uint64_t reported(void)
{
	struct epoll_event e[8];
	uint64_t all = 0;
	int n = epoll_wait(ep, e, 8, 0);

	for (int i = 0; i < n; i++)
		all |= 1ull << e[i].data.u64;
	return all;
}

static int child(void *arg)
{
	add(child_only[1], 5); /* into the epoll of the parent */
	CHECK_EQ(write(ready[1], "", 1), 1);
	kind_wait();
	CHECK_EQ(write(child_only[1], &(uint64_t){ 1 }, 8), 8);
	CHECK_EQ(write(ready[1], "", 1), 1);
	kind_sleep_ms(300);
	return 0;
}

int main(int argc, char **argv)
{
	int plain, moved, replaced, other, n;
	pid_t pid;
	char c;

	kind_init(argc, argv);
	ep = epoll_create1(0);
	CHECK(!pipe(ready));
	plain = eventfd(0, 0);
	add(plain, 1);
	/* One description under three numbers, two of them closed. */
	n = dup(plain);
	moved = fcntl(n, F_DUPFD, 40);
	add(n, 2);
	add(moved, 3);
	CHECK(!close(n) && !close(moved));
	/* A number that is something else by now. */
	replaced = eventfd(0, 0);
	add(replaced, 4);
	other = fcntl(replaced, F_DUPFD, 60);
	CHECK_EQ(dup3(ready[0], replaced, O_CLOEXEC), replaced);
	/* Only the child has this, and the parent has another file at its number. */
	child_only[1] = eventfd(0, 0);
	pid = kind_fork(child, NULL);
	CHECK_EQ(read(ready[0], &c, 1), 1);
	CHECK(!close(child_only[1]));
	CHECK_EQ(open("/dev/zero", O_RDONLY), child_only[1]);
	kind_ready();

	CHECK_EQ(fcntl(40, F_GETFD), -1);
	CHECK_EQ(fcntl(replaced, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(read(replaced, &c, 1), 1); /* the child wrote */
	CHECK_EQ(reported(), 1 << 5);
	CHECK_EQ(write(plain, &(uint64_t){ 1 }, 8), 8);
	CHECK_EQ(reported(), 1 << 5 | 1 << 3 | 1 << 2 | 1 << 1);
	CHECK_EQ(write(other, &(uint64_t){ 1 }, 8), 8);
	CHECK_EQ(reported(), 1 << 5 | 1 << 4 | 1 << 3 | 1 << 2 | 1 << 1);
	kind_join(pid);
	CHECK_EQ(reported(), 1 << 4 | 1 << 3 | 1 << 2 | 1 << 1); /* its only holder is gone */
	kind_pass();
}
