/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that were inherited, and what became of them since: the same description with another
 * close-on-exec and a lock of one table, another description of the same file by the same
 * number, two that have changed places, and one that only the grandchild still has. */
#include "kind.h"

enum { KEPT = 10, LOCKED, AGAIN, FIRST, SECOND, LEFT, NUMBERS };

static volatile int *ready;

static void place(int number, int fd, int cloexec)
{
	CHECK(fd >= 0);
	CHECK_EQ(dup3(fd, number, cloexec), number);
	close(fd);
}

static void check_cloexec(const int *want)
{
	for (int i = KEPT; i < NUMBERS; i++)
		if (want[i - KEPT] < 0)
			CHECK(fcntl(i, F_GETFD) < 0 && errno == EBADF);
		else
			CHECK_EQ(fcntl(i, F_GETFD), want[i - KEPT]);
}

/* Each moves what it shares by so much; all see the sum when all have. */
static void move_on(int step)
{
	lseek(KEPT, step, SEEK_CUR);
	__atomic_add_fetch(&ready[1], 1, __ATOMIC_SEQ_CST);
	kind_until(&ready[1], 3);
	CHECK_EQ(lseek(KEPT, 0, SEEK_CUR), 100 + 1 + 10 + 1000);
}

static int grandchild(void *arg)
{
	static const int want[] = { FD_CLOEXEC, 0, 0, 0, 0, FD_CLOEXEC };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 8 };

	fcntl(LEFT, F_SETFD, FD_CLOEXEC);
	__atomic_add_fetch(&ready[0], 1, __ATOMIC_SEQ_CST);
	kind_wait();
	check_cloexec(want);
	CHECK(!fcntl(LOCKED, F_GETLK, &lock));
	CHECK_EQ(lock.l_type, F_WRLCK);
	CHECK_EQ(lock.l_pid, getppid());
	CHECK_EQ(lseek(AGAIN, 0, SEEK_CUR), 7);
	CHECK_EQ(lseek(FIRST, 0, SEEK_CUR), 2);
	CHECK_EQ(lseek(SECOND, 0, SEEK_CUR), 1);
	CHECK_EQ(lseek(LEFT, 0, SEEK_CUR), 4);
	move_on(1000);
	return 0;
}

static int child(void *arg)
{
	static const int want[] = { FD_CLOEXEC, 0, 0, 0, 0, -1 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 8 };

	CHECK(!fcntl(KEPT, F_SETFD, FD_CLOEXEC));
	CHECK(!fcntl(LOCKED, F_SETLK, &lock));
	place(AGAIN, open(kind_path("again"), O_RDWR), 0);
	CHECK_EQ(lseek(AGAIN, 7, SEEK_SET), 7);
	int first = dup(FIRST);
	CHECK_EQ(dup2(SECOND, FIRST), FIRST);
	place(SECOND, first, 0);
	pid_t pid = kind_fork(grandchild, NULL);
	CHECK(!close(LEFT));
	__atomic_add_fetch(&ready[0], 1, __ATOMIC_SEQ_CST);
	kind_wait();
	check_cloexec(want);
	move_on(10);
	kind_join(pid);
	return 0;
}

int main(int argc, char **argv)
{
	static const int want[] = { 0, 0, FD_CLOEXEC, 0, 0, -1 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 8 };

	kind_init(argc, argv);
	ready = kind_shared(4096);
	place(KEPT, open(kind_path("kept"), O_RDWR | O_CREAT, 0600), 0);
	CHECK_EQ(lseek(KEPT, 100, SEEK_SET), 100);
	place(LOCKED, open(kind_path("locked"), O_RDWR | O_CREAT, 0600), 0);
	place(AGAIN, open(kind_path("again"), O_RDWR | O_CREAT, 0600), O_CLOEXEC);
	CHECK_EQ(lseek(AGAIN, 6, SEEK_SET), 6);
	place(FIRST, open(kind_path("two"), O_RDWR | O_CREAT, 0600), 0);
	place(SECOND, open(kind_path("two"), O_RDWR), 0);
	CHECK_EQ(lseek(FIRST, 1, SEEK_SET) + lseek(SECOND, 2, SEEK_SET), 3);
	place(LEFT, open(kind_path("left"), O_RDWR | O_CREAT, 0600), 0);
	CHECK_EQ(lseek(LEFT, 4, SEEK_SET), 4);
	pid_t pid = kind_fork(child, NULL);
	CHECK(!close(LEFT));
	kind_until(&ready[0], 2);
	kind_ready();
	check_cloexec(want);
	CHECK(!fcntl(LOCKED, F_GETLK, &lock));
	CHECK_EQ(lock.l_pid, pid);
	CHECK_EQ(lseek(AGAIN, 0, SEEK_CUR), 6);
	CHECK_EQ(lseek(FIRST, 0, SEEK_CUR), 1);
	CHECK_EQ(lseek(SECOND, 0, SEEK_CUR), 2);
	move_on(1);
	kind_join(pid);
	kind_pass();
}
