/* SPDX-License-Identifier: Apache-2.0 */
/* The dumpable attribute, off and on, and transparent huge pages turned off. */
#include "kind.h"

static volatile int *ready;

static int child(void *arg)
{
	int off = (int)(long)arg;

	CHECK(!prctl(PR_SET_DUMPABLE, !off));
	CHECK(!prctl(PR_SET_THP_DISABLE, off, 0, 0, 0));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_EQ(prctl(PR_GET_DUMPABLE), !off);
	CHECK_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), off);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[2];

	kind_init(argc, argv);
	ready = kind_shared(4096);
	pid[0] = kind_fork(child, (void *)0L);
	pid[1] = kind_fork(child, (void *)1L);
	kind_until(ready, 2);
	kind_ready();
	kind_join(pid[0]);
	kind_join(pid[1]);
	kind_pass();
}
