/* SPDX-License-Identifier: Apache-2.0 */
/* Orphans that a subreaper adopted: the root adopts one, an inner subreaper another;
 * adoption goes on working, and the attribute is not inherited. */
#include "kind.h"

static volatile int *ready;

static int orphan(void *arg)
{
	int value;

	while (getppid() != (pid_t)(long)arg)
		kind_sleep_ms(1);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_EQ(getppid(), (pid_t)(long)arg);
	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &value));
	CHECK_EQ(value, 0);
	return 0;
}

static int middle(void *arg)
{
	kind_fork(orphan, arg);
	return 0;
}

static int late_orphan(void *arg)
{
	for (int i = 0; i < 5000 && getppid() != (pid_t)(long)arg; i++)
		kind_sleep_ms(1);
	return getppid() == (pid_t)(long)arg ? 0 : 1;
}

static int late_middle(void *arg)
{
	kind_fork(late_orphan, arg);
	return 0;
}

static void adopt(void)
{
	int value, status;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &value));
	CHECK_EQ(value, 1);
	kind_join(kind_fork(late_middle, (void *)(long)getpid()));
	while (waitpid(-1, &status, 0) > 0)
		CHECK_EQ(status, 0);
	CHECK_EQ(errno, ECHILD);
}

static int inner(void *arg)
{
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	kind_join(kind_fork(middle, (void *)(long)getpid()));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST); /* no zombie is left that goes away */
	kind_wait();
	adopt();
	return 0;
}

int main(int argc, char **argv)
{
	pid_t child;

	kind_init(argc, argv);
	ready = kind_shared(4096);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	kind_join(kind_fork(middle, (void *)(long)getpid()));
	child = kind_fork(inner, NULL);
	kind_until(ready, 3);
	kind_ready();
	kind_join(child);
	adopt();
	kind_pass();
}
