/* SPDX-License-Identifier: Apache-2.0 */
/* signalfds: masks, a signal that waits to be read, one inherited by a child. */
#include "kind.h"
#include <poll.h>
#include <sys/signalfd.h>

static int fd, other;

static void expect(int from, int sig, int value)
{
	struct signalfd_siginfo info;

	CHECK_EQ(read(from, &info, sizeof(info)), sizeof(info));
	CHECK_EQ(info.ssi_signo, sig);
	CHECK_EQ(info.ssi_int, value);
}

static int child(void *arg)
{
	kind_wait();
	CHECK(!sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 6 }));
	expect(fd, SIGUSR1, 6);
	return 0;
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo info;
	struct pollfd p = { .events = POLLIN };
	sigset_t set;
	pid_t pid;

	kind_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMAX);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	other = signalfd(-1, &set, 0);
	CHECK(fd >= 0 && other >= 0);
	pid = kind_fork(child, NULL);
	CHECK(!sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 5 }));
	kind_ready();

	kind_join(pid);
	p.fd = fd;
	CHECK_EQ(poll(&p, 1, 0), 1);
	expect(fd, SIGRTMIN + 3, 5);
	CHECK(read(fd, &info, sizeof(info)) < 0 && errno == EAGAIN);
	p.fd = other;
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK(!sigqueue(getpid(), SIGRTMAX, (union sigval){ .sival_int = 7 }));
	expect(other, SIGRTMAX, 7);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	kind_pass();
}
