/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: flock(2), open file description locks, and POSIX locks, which belong to a process. */
#include "kind.h"
#include <sys/file.h>

static int c;

static int child(void *arg)
{
	struct flock mine = { .l_type = F_RDLCK, .l_start = 100 };
	struct flock parents = { .l_type = F_WRLCK, .l_start = 1, .l_len = 2 };

	CHECK(!fcntl(c, F_SETLK, &mine));
	*(volatile int *)arg = 1;
	kind_wait();
	CHECK(!fcntl(c, F_GETLK, &parents));
	CHECK_EQ(parents.l_type, F_WRLCK);
	CHECK_EQ(parents.l_pid, getppid());
	*(volatile int *)arg = 2;
	kind_until(arg, 3);
	return 0;
}

int main(int argc, char **argv)
{
	struct flock range = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 }, ask = range;
	struct flock posix = { .l_type = F_WRLCK, .l_len = 3 };
	struct flock childs = { .l_type = F_WRLCK, .l_start = 50 };
	volatile int *step;
	int a, b, other;
	pid_t pid;

	kind_init(argc, argv);
	a = open(kind_path("a"), O_RDWR | O_CREAT, 0600);
	b = open(kind_path("b"), O_RDWR | O_CREAT, 0600);
	CHECK(!flock(a, LOCK_EX));
	CHECK(!fcntl(b, F_OFD_SETLK, &range));
	c = open(kind_path("c"), O_RDWR | O_CREAT, 0600);
	step = kind_shared(4096);
	pid = kind_fork(child, (void *)step);
	kind_until(step, 1);
	CHECK(!fcntl(c, F_SETLK, &posix));
	kind_ready();

	kind_until(step, 2);
	CHECK(!fcntl(c, F_GETLK, &childs));
	CHECK(childs.l_type == F_RDLCK && childs.l_start == 100 && childs.l_len == 0);
	CHECK_EQ(childs.l_pid, pid);
	*step = 3;
	kind_join(pid);
	other = open(kind_path("a"), O_RDONLY);
	CHECK(flock(other, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	CHECK(!flock(a, LOCK_UN));
	CHECK(!flock(other, LOCK_SH | LOCK_NB));
	other = open(kind_path("b"), O_RDWR);
	CHECK(!fcntl(other, F_OFD_GETLK, &ask));
	CHECK_EQ(ask.l_type, F_WRLCK);
	CHECK_EQ(ask.l_start, 10);
	CHECK_EQ(ask.l_len, 5);
	kind_pass();
}
