/* SPDX-License-Identifier: Apache-2.0 */
/* 60,000 open descriptions in four tasks, 15,000 each: more than one process may have. */
#include "kind.h"
#include <sys/resource.h>

enum { TASKS = 4, FILES = 100 };

static int count = 15000, first;
static volatile int *ready;

static void open_all(int task)
{
	char name[32];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "files/%d", i % FILES);
		int fd = open(kind_path(name), O_RDONLY | O_CLOEXEC);
		CHECK(fd >= 0);
		if (!i)
			first = fd;
		CHECK_EQ(fd, first + i);
		CHECK_EQ(lseek(fd, task * count + i, SEEK_SET), task * count + i);
	}
}

static void check_all(int task)
{
	for (int i = 0; i < count; i++)
		CHECK_EQ(lseek(first + i, 0, SEEK_CUR), task * count + i);
	CHECK(lseek(first + count, 0, SEEK_CUR) < 0);
}

static int child(void *arg)
{
	int task = (int)(long)arg;

	open_all(task);
	ready[task] = 1;
	kind_wait();
	check_all(task);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[TASKS];
	struct rlimit lim;
	char name[32];

	kind_init(argc, argv);
	if (getenv("CRCORE_TEST_SHORT"))
		count = 1500;
	if (argc > 2)
		count = atoi(argv[2]);
	CHECK(!getrlimit(RLIMIT_NOFILE, &lim));
	if (lim.rlim_max < (rlim_t)count + 100)
		kind_skip("only %ld descriptors are allowed", (long)lim.rlim_max);
	lim.rlim_cur = (rlim_t)count + 100;
	CHECK(!setrlimit(RLIMIT_NOFILE, &lim));
	ready = kind_shared(4096);
	CHECK(!mkdir(kind_path("files"), 0777));
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "files/%d", i);
		close(creat(kind_path(name), 0666));
	}
	for (long i = 1; i < TASKS; i++)
		pid[i] = kind_fork(child, (void *)i);
	open_all(0);
	for (int i = 1; i < TASKS; i++)
		kind_until(&ready[i], 1);
	kind_busy(); /* so many need not be compared one by one */
	kind_ready();
	check_all(0);
	for (int i = 1; i < TASKS; i++)
		kind_join(pid[i]);
	kind_pass();
}
