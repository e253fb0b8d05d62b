/* SPDX-License-Identifier: Apache-2.0 */
/* Shared anonymous memory: sparse, mapped twice, in parts and by several processes;
 * what one writes afterwards the others see. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096, PAGES = 4096 };

static unsigned char *all, *part, *twice;
static volatile int *ready;

static int child(void *arg)
{
	unsigned char *moved = mremap(part, 8 * SIZE, 8 * SIZE, MREMAP_MAYMOVE, NULL);

	CHECK(moved != MAP_FAILED);
	CHECK(!munmap(all, 100 * SIZE));
	*ready = 1;
	kind_wait();
	CHECK_EQ(moved[0], 7);
	moved[1] = 99;
	CHECK_EQ(all[3000 * SIZE], 9);
	all[3000 * SIZE + 1] = 98;
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid;

	kind_init(argc, argv);
	all = kind_shared(PAGES * SIZE);
	CHECK(!prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, all, PAGES * SIZE, "segment") || errno == EINVAL);
	part = kind_shared(16 * SIZE);
	CHECK(!munmap(part, 8 * SIZE)); /* the rest is at an offset */
	part += 8 * SIZE;
	twice = mremap(all, 0, PAGES * SIZE, MREMAP_MAYMOVE); /* the same once more */
	CHECK(twice != MAP_FAILED);
	part[0] = 7;
	for (int i = 1000; i < 1010; i++)
		memset(all + i * SIZE, i & 0xff, SIZE);
	all[3000 * SIZE] = 9;
	CHECK(!mprotect(twice, PAGES * SIZE, PROT_READ));
	ready = kind_shared(SIZE);
	pid = kind_fork(child, NULL);
	kind_until(ready, 1);
	kind_ready();
	kind_join(pid);
	CHECK_EQ(part[1], 99);
	CHECK_EQ(twice[3000 * SIZE + 1], 98);
	all[5] = 5;
	CHECK_EQ(twice[5], 5);
	for (int i = 0; i < PAGES; i++)
		for (int k = 8; k < SIZE; k++)
			if (all[i * SIZE + k] != (i >= 1000 && i < 1010 ? (i & 0xff) : 0))
				kind_fail("page %d byte %d is %d", i, k, all[i * SIZE + k]);
	kind_pass();
}
