/* SPDX-License-Identifier: Apache-2.0 */
/* Filters: inherited, of single threads, of a task that has lost its privileges; and a
 * thread can still install one for all, since their chains are one. */
#include "seccomp.h"
#include <pthread.h>

static volatile int *step;

static void *plain_thread(void *arg)
{
	kind_until(&step[0], 1);
	kind_wait();
	CHECK(forbidden(SYS_getppid, 71) && forbidden(SYS_getpgrp, 72));
	CHECK(syscall(SYS_getuid) == 0 && syscall(SYS_getgid) == 0);
	step[4] = 1;
	kind_until(&step[1], 1);
	CHECK(forbidden(SYS_getgid, 74));
	return NULL;
}

static void *narrow_thread(void *arg)
{
	kind_until(&step[0], 1);
	CHECK(!forbid(SYS_getuid, 73, SECCOMP_FILTER_FLAG_LOG));
	step[2] = 1;
	kind_wait();
	CHECK(forbidden(SYS_getppid, 71) && forbidden(SYS_getpgrp, 72) && forbidden(SYS_getuid, 73));
	kind_until(&step[4], 1);
	kind_until(&step[5], 1);
	CHECK_EQ(forbid(SYS_getgid, 74, SECCOMP_FILTER_FLAG_TSYNC), 0);
	CHECK(forbidden(SYS_getgid, 74));
	step[1] = 1;
	return NULL;
}

/* It could not install its filters again: it is nobody, and may gain privileges. */
static int nobody(void *arg)
{
	CHECK(!forbid(SYS_getsid, 75, 0));
	CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	step[3] = 1;
	kind_wait();
	CHECK(forbidden(SYS_getsid, 75) && forbidden(SYS_getppid, 71));
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	CHECK_EQ(geteuid(), 65534);
	CHECK(forbid(SYS_getsid, 76, 0) == -1 && errno == EACCES);
	return 0;
}

static int free_child(void *arg)
{
	kind_wait();
	CHECK_EQ(syscall(SYS_getppid), (long)arg);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t a, b;
	pid_t free, child;

	kind_init(argc, argv);
	step = kind_shared(4096);
	free = kind_fork(free_child, (void *)(long)getpid());
	CHECK(!pthread_create(&a, NULL, plain_thread, NULL));
	CHECK(!pthread_create(&b, NULL, narrow_thread, NULL));
	CHECK_EQ(forbid(SYS_getppid, 71, SECCOMP_FILTER_FLAG_TSYNC), 0);
	CHECK_EQ(forbid(SYS_getpgrp, 72, SECCOMP_FILTER_FLAG_TSYNC), 0);
	step[0] = 1;
	kind_until(&step[2], 1);
	child = kind_fork(nobody, NULL);
	kind_until(&step[3], 1);
	kind_ready();

	CHECK(forbidden(SYS_getppid, 71) && forbidden(SYS_getpgrp, 72));
	CHECK_EQ(syscall(SYS_getuid), 0);
	step[5] = 1;
	CHECK(!pthread_join(b, NULL));
	CHECK(forbidden(SYS_getgid, 74) && forbidden(SYS_getuid, 73));
	CHECK(!pthread_join(a, NULL));
	kind_join(child);
	kind_join(free);
	kind_pass();
}
