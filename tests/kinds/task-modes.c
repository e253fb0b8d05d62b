/* SPDX-License-Identifier: Apache-2.0 */
/* What prctl(2) says of the processor and of huge pages: no reading of the time stamp counter,
 * for one thread and for a process; no huge pages, or none but where they are asked for. */
#include "kind.h"
#include <pthread.h>
#include <sched.h>

enum { ALL = 1, EXCEPT_ADVISED = 2 }; /* PR_SET_THP_DISABLE */

static volatile int *step, *over;

/* No clock is read here: the C library reads the counter for that. */
static int without_counter(void *arg)
{
	const struct timespec pause = { 0, 1000000 };
	int mode = 0;

	CHECK(!prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(over, __ATOMIC_SEQ_CST))
		syscall(SYS_nanosleep, &pause, NULL);
	CHECK(!prctl(PR_GET_TSC, &mode));
	CHECK_EQ(mode, PR_TSC_SIGSEGV);
	return 0;
}

static void *thread(void *arg)
{
	without_counter(arg);
	return NULL;
}

static int huge(void *arg)
{
	const long flags = (long)arg;
	int mode = 0;

	/* A kernel that knows no flags refuses them. */
	const bool set = !prctl(PR_SET_THP_DISABLE, 1, flags & ~ALL, 0, 0);

	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK(!prctl(PR_GET_TSC, &mode));
	CHECK_EQ(mode, PR_TSC_ENABLE);
	CHECK_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), set ? flags : 0);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t other;
	pid_t child[3];
	int mode = 0;

	kind_init(argc, argv);
	step = kind_shared(4096);
	over = step + 1;
	if (prctl(PR_GET_TSC, &mode))
		kind_skip("this processor's counter cannot be forbidden");
	child[0] = kind_fork(without_counter, NULL);
	child[1] = kind_fork(huge, (void *)(long)ALL);
	child[2] = kind_fork(huge, (void *)(long)(ALL | EXCEPT_ADVISED));
	CHECK(!pthread_create(&other, NULL, thread, NULL));
	kind_until(step, 4);
	kind_ready();
	__atomic_store_n(over, 1, __ATOMIC_SEQ_CST);
	CHECK(!pthread_join(other, NULL));
	for (int i = 0; i < 3; i++)
		kind_join(child[i]);
	CHECK(!prctl(PR_GET_TSC, &mode));
	CHECK_EQ(mode, PR_TSC_ENABLE);
	CHECK_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
	kind_pass();
}
