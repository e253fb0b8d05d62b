/* SPDX-License-Identifier: Apache-2.0 */
/* O_ASYNC: who is told of events, by which signal, with which descriptor. */
#include "kind.h"
#include <sys/socket.h>

static volatile int *seen; /* [0]: of the child, [1]: of the parent */

static void on_event(int sig, siginfo_t *si, void *context)
{
	seen[getpid() == seen[2]] = si->si_fd + 1000 * (sig == SIGIO ? 1 : 2);
}

static int child(void *arg)
{
	seen[3] = 1;
	kind_wait();
	for (int i = 0; !seen[0] && i < 10000; i++)
		kind_sleep_ms(1);
	return 0;
}

static void owner_is(int fd, int type, pid_t pid, int sig)
{
	struct f_owner_ex o = { 0 };

	CHECK(!fcntl(fd, F_GETOWN_EX, &o));
	CHECK_EQ(o.type, type);
	CHECK_EQ(o.pid, pid);
	CHECK_EQ(fcntl(fd, F_GETSIG), sig);
}

static void set_owner(int fd, int type, pid_t pid, int sig)
{
	struct f_owner_ex o = { type, pid };

	CHECK(!fcntl(fd, F_SETOWN_EX, &o) && !fcntl(fd, F_SETSIG, sig));
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_event, .sa_flags = SA_SIGINFO | SA_RESTART };
	int a[2], b[2], c[2], quiet;
	pid_t pid;

	kind_init(argc, argv);
	seen = kind_shared(4096);
	seen[2] = getpid();
	CHECK(!sigaction(SIGRTMIN + 2, &sa, NULL) && !sigaction(SIGIO, &sa, NULL));
	CHECK(!pipe(a) && !pipe2(b, O_NONBLOCK) && !socketpair(AF_UNIX, SOCK_STREAM, 0, c));
	pid = kind_fork(child, NULL);
	kind_until(&seen[3], 1);
	set_owner(a[0], F_OWNER_TID, getpid(), SIGRTMIN + 2);
	CHECK(!fcntl(a[0], F_SETFL, O_ASYNC));
	set_owner(b[0], F_OWNER_PID, pid, SIGRTMIN + 2);
	CHECK(!fcntl(b[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	set_owner(c[0], F_OWNER_PGRP, getpgrp(), 0);
	CHECK(!fcntl(c[0], F_SETFL, O_ASYNC));
	quiet = open(kind_path("quiet"), O_RDWR | O_CREAT | O_APPEND, 0600);
	set_owner(quiet, F_OWNER_PID, getpid(), SIGUSR1);
	kind_ready();

	owner_is(a[0], F_OWNER_TID, getpid(), SIGRTMIN + 2);
	owner_is(b[0], F_OWNER_PID, pid, SIGRTMIN + 2);
	owner_is(c[0], F_OWNER_PGRP, getpgrp(), 0);
	owner_is(quiet, F_OWNER_PID, getpid(), SIGUSR1);
	CHECK_EQ(fcntl(quiet, F_GETFL) & (O_APPEND | O_ASYNC), O_APPEND);
	CHECK_EQ(fcntl(b[0], F_GETFL), O_ASYNC | O_NONBLOCK);
	CHECK_EQ(seen[0], 0);
	CHECK_EQ(seen[1], 0);
	CHECK_EQ(write(a[1], "x", 1), 1);
	kind_until(&seen[1], 2000 + a[0]);
	CHECK_EQ(write(b[1], "x", 1), 1);
	kind_until(&seen[0], 2000 + b[0]);
	kind_join(pid);
	CHECK_EQ(write(c[1], "x", 1), 1);
	kind_until(&seen[1], 1000);
	kind_pass();
}
