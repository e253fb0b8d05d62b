/* SPDX-License-Identifier: Apache-2.0 */
/* 21,000 files without a name in three tasks, more than one process may have: memfds, deleted
 * files and deleted FIFOs. Each is made by crcore, and no longer needed when it is given away. */
#include "kind.h"
#include <sys/mman.h>
#include <sys/resource.h>

enum { TASKS = 3 };

static int count = 7000, first;
static volatile int *ready;

static int make(int i)
{
	char name[40];
	int fd;

	snprintf(name, sizeof(name), "%d-%d", getpid(), i);
	if (i % 8 > 1)
		return memfd_create(name, MFD_CLOEXEC);
	if (i % 8 == 1)
		CHECK(!mkfifo(kind_path(name), 0600));
	fd = open(kind_path(name), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	CHECK(!unlink(kind_path(name)));
	return fd;
}

static void make_all(int task)
{
	for (int i = 0; i < count; i++) {
		int fd = make(i), number = task * count + i;
		CHECK(fd >= 0);
		if (!i)
			first = fd;
		CHECK_EQ(fd, first + i);
		CHECK_EQ(write(fd, &number, sizeof(number)), sizeof(number));
	}
}

static void check_all(int task)
{
	int got;

	for (int i = 0; i < count; i++) {
		if (i % 8 == 1)
			CHECK_EQ(read(first + i, &got, sizeof(got)), sizeof(got));
		else
			CHECK_EQ(pread(first + i, &got, sizeof(got), 0), sizeof(got));
		CHECK_EQ(got, task * count + i);
	}
}

static int child(void *arg)
{
	int task = (int)(long)arg;

	make_all(task);
	ready[task] = 1;
	kind_wait();
	check_all(task);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[TASKS];
	struct rlimit lim;

	kind_init(argc, argv);
	if (getenv("CRCORE_TEST_SHORT"))
		count = 700;
	CHECK(!getrlimit(RLIMIT_NOFILE, &lim));
	if (lim.rlim_max < (rlim_t)count + 100)
		kind_skip("only %ld descriptors are allowed", (long)lim.rlim_max);
	lim.rlim_cur = (rlim_t)count + 100;
	CHECK(!setrlimit(RLIMIT_NOFILE, &lim));
	ready = kind_shared(4096);
	for (long i = 1; i < TASKS; i++)
		pid[i] = kind_fork(child, (void *)i);
	make_all(0);
	for (int i = 1; i < TASKS; i++)
		kind_until(&ready[i], 1);
	kind_busy(); /* so many need not be compared one by one */
	kind_ready();
	check_all(0);
	for (int i = 1; i < TASKS; i++)
		kind_join(pid[i]);
	kind_pass();
}
