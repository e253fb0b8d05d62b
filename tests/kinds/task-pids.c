/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of three levels: every process keeps its pid, its parent, its children. */
#include "kind.h"

enum { WIDTH = 3, DEPTH = 3 };

static volatile int *ready;

static int node(void *arg)
{
	long depth = (long)arg;
	pid_t pid = getpid(), parent = getppid(), child[WIDTH];

	for (int i = 0; depth < DEPTH && i < WIDTH; i++)
		child[i] = kind_fork(node, (void *)(depth + 1));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	if (depth == 1) {
		kind_until(ready, 1 + WIDTH + WIDTH * WIDTH);
		kind_announce();
	}
	kind_wait();
	CHECK_EQ(getpid(), pid);
	CHECK_EQ(gettid(), pid);
	if (depth > 1)
		CHECK_EQ(getppid(), parent);
	for (int i = 0; depth < DEPTH && i < WIDTH; i++)
		kind_join(child[i]);
	CHECK(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
	return 0;
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	ready = kind_shared(4096);
	node((void *)1L);
	kind_pass();
}
