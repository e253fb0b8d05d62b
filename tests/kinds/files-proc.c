/* SPDX-License-Identifier: Apache-2.0 */
/* Files of tasks of the tree in /proc, shared by processes and by numbers: of itself, of a
 * child, of a thread; one description stays one. And of a process that has ended. */
#include "kind.h"
#include <pthread.h>

static int own, dir;
static volatile int *end;

static int child(void *arg)
{
	char buf[4096] = "";

	kind_wait();
	CHECK_EQ(lseek(own, 0, SEEK_CUR), 7);
	CHECK_EQ(lseek(own, 11, SEEK_SET), 11);
	CHECK_EQ(fcntl(own, F_GETFD), FD_CLOEXEC);
	CHECK(pread(dir, buf, 1, 0) < 0 && errno == EISDIR);
	return 0;
}

static int child_that_ends(void *arg)
{
	kind_until(end, 1);
	return 0;
}

static void *thread(void *arg)
{
	*(volatile pid_t *)arg = gettid();
	kind_wait();
	return NULL;
}

int main(int argc, char **argv)
{
	char path[64], buf[4096] = "";
	volatile pid_t tid = 0;
	int of_thread, of_child, twice, of_gone, dir_gone;
	struct stat st;
	pthread_t t;
	pid_t pid, gone;

	kind_init(argc, argv);
	end = kind_shared(4096);
	own = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(lseek(own, 7, SEEK_SET), 7);
	twice = dup(own);
	dir = open("/proc/self", O_RDONLY | O_DIRECTORY);
	pid = kind_fork(child, NULL);
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	CHECK(own >= 0 && twice >= 0 && dir >= 0);
	of_child = open(path, O_RDONLY);
	CHECK(!pthread_create(&t, NULL, thread, (void *)&tid));
	for (int i = 0; !tid && i < 10000; i++)
		kind_sleep_ms(1);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	of_thread = open(path, O_RDONLY);
	CHECK(of_thread >= 0);
	gone = kind_fork(child_that_ends, NULL);
	snprintf(path, sizeof(path), "/proc/%d/status", gone);
	of_gone = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d", gone);
	dir_gone = open(path, O_RDONLY | O_DIRECTORY);
	CHECK(of_gone >= 0 && dir_gone >= 0);
	*end = 1;
	kind_join(gone);
	CHECK(read(of_gone, buf, 10) < 0 && errno == ESRCH);
	kind_busy(); /* of what is gone another name is shown */
	kind_ready();

	CHECK(read(of_gone, buf, 10) < 0 && errno == ESRCH);
	CHECK_EQ(fcntl(of_gone, F_GETFD), FD_CLOEXEC);
	CHECK(fstatat(dir_gone, "stat", &st, 0) < 0);
	CHECK(pread(of_child, buf, sizeof(buf) - 1, 0) > 0);
	CHECK_EQ(atoi(buf), pid);
	kind_join(pid);
	CHECK_EQ(lseek(own, 0, SEEK_CUR), 11); /* the child moved it */
	CHECK_EQ(lseek(twice, 0, SEEK_CUR), 11);
	CHECK_EQ(fcntl(twice, F_GETFD), 0);
	CHECK(pread(own, buf, sizeof(buf) - 1, 0) > 0);
	snprintf(path, sizeof(path), "\nPid:\t%d\n", getpid());
	CHECK(strstr(buf, path) != NULL);
	CHECK(pread(of_thread, buf, sizeof(buf) - 1, 0) > 0 || errno == ESRCH);
	CHECK(!fstatat(dir, "maps", &st, 0));
	CHECK(!pthread_join(t, NULL));
	kind_pass();
}
