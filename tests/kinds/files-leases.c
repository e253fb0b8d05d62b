/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: a read lease, a write lease, and one that somebody waits for. */
#include "kind.h"

static volatile sig_atomic_t told_fd;

static void on_break(int sig, siginfo_t *si, void *context)
{
	told_fd = si->si_fd;
}

static int breaker(void *arg)
{
	int fd = open(kind_path("wanted"), O_WRONLY);

	CHECK(fd >= 0); /* once the lease is given up */
	return 0;
}

static void await_signal(int fd)
{
	for (int i = 0; told_fd != fd && i < 10000; i++)
		kind_sleep_ms(1);
	CHECK_EQ(told_fd, fd);
	told_fd = -1;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_break, .sa_flags = SA_SIGINFO | SA_RESTART };
	int wanted, reader, writer;
	pid_t pid;

	kind_init(argc, argv);
	close(creat(kind_path("wanted"), 0666));
	close(creat(kind_path("reader"), 0666));
	wanted = open(kind_path("wanted"), O_RDONLY);
	reader = open(kind_path("reader"), O_RDONLY);
	writer = open(kind_path("writer"), O_RDWR | O_CREAT, 0666);
	CHECK(!sigaction(SIGRTMIN + 3, &sa, NULL));
	CHECK(!fcntl(wanted, F_SETSIG, SIGRTMIN + 3) && !fcntl(reader, F_SETSIG, SIGRTMIN + 3));
	CHECK(!fcntl(writer, F_SETSIG, SIGRTMIN + 3));
	if (fcntl(wanted, F_SETLEASE, F_RDLCK))
		kind_skip("no leases here");
	CHECK(!fcntl(reader, F_SETLEASE, F_RDLCK) && !fcntl(writer, F_SETLEASE, F_WRLCK));
	pid = kind_fork(breaker, NULL);
	await_signal(wanted);
	kind_busy(); /* the wait for the lease is not in /proc for a moment */
	kind_ready();

	CHECK_EQ(fcntl(reader, F_GETLEASE), F_RDLCK);
	CHECK_EQ(fcntl(writer, F_GETLEASE), F_WRLCK);
	CHECK_EQ(fcntl(writer, F_GETSIG), SIGRTMIN + 3);
	CHECK(!fcntl(wanted, F_SETLEASE, F_UNLCK));
	kind_join(pid);
	told_fd = -1;
	CHECK(open(kind_path("reader"), O_WRONLY | O_NONBLOCK) < 0 && errno == EWOULDBLOCK);
	await_signal(reader);
	CHECK(open(kind_path("writer"), O_RDONLY | O_NONBLOCK) < 0 && errno == EWOULDBLOCK);
	await_signal(writer);
	CHECK(!fcntl(reader, F_SETLEASE, F_UNLCK) && !fcntl(writer, F_SETLEASE, F_UNLCK));
	kind_pass();
}
