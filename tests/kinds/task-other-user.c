/* SPDX-License-Identifier: Apache-2.0 */
/* A tree that root started and that runs as nobody: no capability, threads, children,
 * lowered limits, a negative oom_score_adj and nice value that it could not set itself. */
#include "kind.h"
#include <grp.h>
#include <pthread.h>
#include <sys/resource.h>

enum { NOBODY = 65534 };

static pthread_barrier_t ready;
static volatile int *child_ready;

static void check(void)
{
	uid_t r, e, s;

	CHECK(!getresuid(&r, &e, &s));
	CHECK(r == NOBODY && e == NOBODY && s == NOBODY);
	CHECK_EQ(getgroups(0, NULL), 0);
	CHECK_EQ(strtoull(kind_status(0, "CapPrm"), NULL, 16), 0);
	CHECK(setuid(0) < 0 && errno == EPERM);
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), -5);
}

static void *run(void *arg)
{
	pthread_barrier_wait(&ready);
	kind_wait();
	check();
	return NULL;
}

static int child(void *arg)
{
	*child_ready = 1;
	kind_wait();
	check();
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit lim = { 100, 200 };
	pthread_t thread;
	pid_t pid;
	int fd;

	kind_init(argc, argv);
	child_ready = kind_shared(4096);
	CHECK(!setpriority(PRIO_PROCESS, 0, -5));
	fd = open("/proc/self/oom_score_adj", O_WRONLY);
	CHECK(fd >= 0 && write(fd, "150", 3) == 3 && !close(fd));
	CHECK(!setrlimit(RLIMIT_NOFILE, &lim));
	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(NOBODY, NOBODY, NOBODY));
	CHECK(!setresuid(NOBODY, NOBODY, NOBODY));
	CHECK(!pthread_barrier_init(&ready, NULL, 2));
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	pthread_barrier_wait(&ready);
	pid = kind_fork(child, NULL);
	kind_until(child_ready, 1);
	kind_ready();
	check();
	CHECK(!getrlimit(RLIMIT_NOFILE, &lim));
	CHECK(lim.rlim_cur == 100 && lim.rlim_max == 200);
	CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
	CHECK(!pthread_join(thread, NULL));
	kind_join(pid);
	kind_pass();
}
