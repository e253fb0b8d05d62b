/* SPDX-License-Identifier: Apache-2.0 */
/* Oneshot registrations that have reported: on what is ready again, and on what is not.
 * The kernel lets nobody make the latter quite as it was: a hang-up, which nobody waits
 * for, would be reported, so /proc differs. */
#include "kind.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT | EPOLLET };
	int ep, full[2], idle[2], fresh[2];

	kind_init(argc, argv);
	kind_busy();
	ep = epoll_create1(0);
	CHECK(!pipe(full) && !pipe(idle) && !pipe(fresh));
	for (int i = 0; i < 2; i++) {
		int *p = i ? full : idle;
		CHECK_EQ(write(p[1], "ab", 2), 2);
		e = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT | EPOLLET, .data.fd = p[0] };
		CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
		CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
		CHECK_EQ(e.data.fd, p[0]);
	}
	CHECK_EQ(read(idle[0], &e, 2), 2);
	e = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.fd = fresh[0] };
	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, fresh[0], &e));
	CHECK_EQ(write(fresh[1], "", 1), 1);
	kind_ready();

	CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
	CHECK_EQ(e.data.fd, fresh[0]);
	CHECK_EQ(write(idle[1], "c", 1), 1);
	CHECK_EQ(write(full[1], "c", 1), 1);
	CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
	for (int i = 0; i < 2; i++) {
		int *p = i ? full : idle;
		e = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.fd = p[0] };
		CHECK(!epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
		CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
		CHECK_EQ(e.data.fd, p[0]);
		CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
	}
	kind_pass();
}
