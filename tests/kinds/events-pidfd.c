/* SPDX-License-Identifier: Apache-2.0 */
/* pidfds: of a child, of oneself, of a zombie, of one that was waited for, shared with a child, watched by epoll. */
#include "kind.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int brother, self;

static int sleeper(void *arg)
{
	for (;;)
		pause();
	return 0;
}

static int holder(void *arg)
{
	kind_wait();
	CHECK(!syscall(SYS_pidfd_send_signal, brother, SIGKILL, NULL, 0)); /* by the shared one */
	CHECK(!syscall(SYS_pidfd_send_signal, self, 0, NULL, 0));
	return 0;
}

static int end(void *arg)
{
	return 3;
}

int main(int argc, char **argv)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 12 };
	struct pollfd p = { .events = POLLIN };
	pid_t sleeping, holding, dead, waited;
	siginfo_t info = { 0 };
	int zombie, twin, ep, gone;

	kind_init(argc, argv);
	sleeping = kind_fork(sleeper, NULL);
	brother = (int)syscall(SYS_pidfd_open, sleeping, O_NONBLOCK);
	self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	CHECK(brother >= 0 && self >= 0);
	CHECK(!fcntl(self, F_SETFD, 0));
	twin = fcntl(brother, F_DUPFD, 30);
	dead = kind_fork(end, NULL);
	zombie = (int)syscall(SYS_pidfd_open, dead, 0);
	kind_until_state(dead, dead, 'Z');
	waited = kind_fork(end, NULL);
	gone = (int)syscall(SYS_pidfd_open, waited, O_NONBLOCK);
	CHECK_EQ(waitpid(waited, NULL, 0), waited);
	ep = epoll_create1(0);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, brother, &e));
	holding = kind_fork(holder, NULL);
	CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
	kind_ready();

	kind_join(holding);
	CHECK_EQ(epoll_wait(ep, &e, 1, 10000), 1);
	CHECK_EQ(e.data.u64, 12);
	CHECK(!waitid(P_PIDFD, (id_t)twin, &info, WEXITED));
	CHECK_EQ(info.si_pid, sleeping);
	CHECK_EQ(info.si_status, SIGKILL);
	p.fd = gone;
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLIN);
	CHECK(syscall(SYS_pidfd_send_signal, gone, 0, NULL, 0) < 0 && errno == ESRCH);
	CHECK(waitid(P_PIDFD, (id_t)gone, &info, WEXITED) < 0 && errno == ECHILD);
	CHECK_EQ(fcntl(gone, F_GETFL) & (O_NONBLOCK | O_EXCL), O_NONBLOCK);
	p.fd = zombie;
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(!waitid(P_PIDFD, (id_t)zombie, &info, WEXITED));
	CHECK_EQ(info.si_pid, dead);
	CHECK_EQ(info.si_status, 3);
	CHECK_EQ(fcntl(brother, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_EQ(fcntl(brother, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(self, F_GETFD), 0);
	CHECK_EQ(fcntl(twin, F_GETFD), 0);
	CHECK(!syscall(SYS_pidfd_send_signal, self, 0, NULL, 0));
	kind_pass();
}
