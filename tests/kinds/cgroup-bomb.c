/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fork bomb, but for a bound: processes that fork as fast as they can, and end,
 * so that the tree is never twice the same. Every fork is counted by the parent,
 * by the child, and when that ends: nobody may get lost.
 */
#include <sched.h>
#include <sys/mman.h>
#include "kind.h"

#define MOST 60      /* alive at once */
#define GENERATIONS 4

static struct { volatile int alive, forked, born, ended; } *n;

static void add(volatile int *word, int v)
{
	__atomic_add_fetch(word, v, __ATOMIC_SEQ_CST);
}

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void explode(int generation)
{
	while (!kind_over() || (!generation && n->forked <= MOST)) {
		reap();
		if (generation == GENERATIONS || __atomic_load_n(&n->alive, __ATOMIC_SEQ_CST) >= MOST) {
			if (generation)
				break;
			sched_yield();
			continue;
		}
		add(&n->alive, 1);
		pid_t pid = fork();
		if (pid == 0) {
			add(&n->born, 1);
			explode(generation + 1);
			add(&n->ended, 1);
			add(&n->alive, -1);
			_exit(0);
		}
		CHECK(pid > 0);
		add(&n->forked, 1);
	}
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	kind_busy();
	n = kind_shared(sizeof(*n));
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	kind_announce();
	explode(0);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	CHECK_EQ(n->born, n->forked);
	CHECK_EQ(n->ended, n->forked);
	CHECK_EQ(n->alive, 0);
	kind_pass();
}
