/* SPDX-License-Identifier: Apache-2.0 */
/* Many processes that map and unmap memory all the time, so that what was mapped when the tree was
 * looked at is not what is mapped when it is frozen. */
#include "kind.h"
#include <sys/mman.h>

enum { PROCESSES = 40, KEPT = 4, PAGES = 3, SIZE = PAGES * 4096, ROUND = 64 };

static volatile int *ready;

static void fill(unsigned *at, unsigned seed)
{
	for (unsigned i = 0; i < SIZE / sizeof(*at); i++)
		at[i] = seed + i;
}

static void check(const unsigned *at, unsigned seed)
{
	for (unsigned i = 0; i < SIZE / sizeof(*at); i++)
		CHECK_EQ(at[i], seed + i);
}

/* One after the other comes to another place, and the oldest goes. */
static int change(void *arg)
{
	char *base = mmap(NULL, 2 * ROUND * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned n = 0;

	CHECK(base != MAP_FAILED);
	do {
		char *at = base + 2 * (n % ROUND) * SIZE, *old = base + 2 * ((n - KEPT) % ROUND) * SIZE;
		CHECK(mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		           0) == at);
		fill((unsigned *)(void *)at, n);
		if (n >= KEPT) {
			check((unsigned *)(void *)old, n - KEPT);
			CHECK(!munmap(old, SIZE));
		}
		if (++n == KEPT)
			__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
		kind_sleep_ms(1);
	} while (!kind_over());
	for (unsigned k = n - KEPT; k < n; k++)
		check((unsigned *)(void *)(base + 2 * (k % ROUND) * SIZE), k);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t child[PROCESSES];

	kind_init(argc, argv);
	kind_busy();
	ready = kind_shared(4096);
	for (int i = 0; i < PROCESSES; i++)
		child[i] = kind_fork(change, NULL);
	kind_until(ready, PROCESSES);
	kind_ready();
	for (int i = 0; i < PROCESSES; i++)
		kind_join(child[i]);
	kind_pass();
}
