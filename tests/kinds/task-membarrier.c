/* SPDX-License-Identifier: Apache-2.0 */
/* membarrier(2): what a process has registered for it may use. */
#include "kind.h"
#include <linux/membarrier.h>
#include <pthread.h>

#define GET_REGISTRATIONS (1 << 9)

static int barrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

static int child(void *arg)
{
	kind_wait();
	CHECK_EQ(barrier(GET_REGISTRATIONS), 0);
	CHECK(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == -1 && errno == EPERM);
	return 0;
}

static volatile int started;

static void *thread(void *arg)
{
	started = 1;
	kind_wait();
	return NULL;
}

int main(int argc, char **argv)
{
	int before, known;
	pthread_t t;
	pid_t pid;

	kind_init(argc, argv);
	known = barrier(MEMBARRIER_CMD_QUERY);
	if (known < 0 || !(known & GET_REGISTRATIONS))
		kind_skip("this kernel does not tell registrations");
	pid = kind_fork(child, NULL);
	CHECK(!barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
	CHECK(!barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
	if (known & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
		CHECK(!barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE));
	before = barrier(GET_REGISTRATIONS);
	CHECK(!pthread_create(&t, NULL, thread, NULL));
	kind_until(&started, 1);
	kind_ready();

	CHECK_EQ(barrier(GET_REGISTRATIONS), before);
	CHECK(!barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
	if (known & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
		CHECK(!barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE));
	CHECK(!pthread_join(t, NULL));
	kind_join(pid);
	kind_pass();
}
