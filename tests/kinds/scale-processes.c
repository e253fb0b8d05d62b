/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of three levels with 200 processes (or argv[2], at least 20); each keeps its
 * pid, its parent and memory of its own. All but the first are asleep until it is over:
 * hundreds that look every now and then would take the processors from who measures. */
#include "kind.h"
#include <linux/futex.h>

enum { MIDDLE = 19 };

static volatile int *ready;
static int *over; /* beside it */
static unsigned pattern[4096];

static void fill(unsigned seed, bool check)
{
	for (unsigned i = 0; i < 4096; i++) {
		seed = seed * 1664525 + 1013904223;
		if (!check)
			pattern[i] = seed;
		else if (pattern[i] != seed)
			kind_fail("word %u of process %d differs", i, getpid());
	}
}

static int leaf(void *arg)
{
	pid_t pid = getpid(), parent = getppid();

	fill((unsigned)pid, false);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(over, __ATOMIC_ACQUIRE)) {
		long ret = syscall(SYS_futex, over, FUTEX_WAIT, 0, NULL, NULL, 0);
		CHECK(ret == 0 || errno == EAGAIN || errno == EINTR);
	}
	CHECK_EQ(getpid(), pid);
	CHECK_EQ(getppid(), parent);
	fill((unsigned)pid, true);
	return 0;
}

static int middle(void *arg)
{
	long leaves = (long)arg;
	pid_t *child = calloc((size_t)leaves + 1, sizeof(*child));

	for (long i = 0; i < leaves; i++)
		child[i] = kind_fork(leaf, NULL);
	leaf(NULL);
	for (long i = 0; i < leaves; i++)
		kind_join(child[i]);
	free(child);
	return 0;
}

int main(int argc, char **argv)
{
	int total = argc > 2 ? atoi(argv[2]) : 200, leaves = total - 1 - MIDDLE;
	pid_t child[MIDDLE];

	kind_init(argc, argv);
	ready = kind_shared(4096);
	over = (int *)ready + 1;
	for (int i = 0; i < MIDDLE; i++)
		child[i] = kind_fork(middle, (void *)(long)(leaves / MIDDLE + (i < leaves % MIDDLE)));
	kind_until(ready, total - 1);
	kind_ready();
	__atomic_store_n(over, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, over, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	for (int i = 0; i < MIDDLE; i++)
		kind_join(child[i]);
	kind_pass();
}
