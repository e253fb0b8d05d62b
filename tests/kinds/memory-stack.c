/* SPDX-License-Identifier: Apache-2.0 */
/* The stack and a mapping of one's own that grow when they are touched below, before and
 * after; the heap that grows by brk; what is below the stack stays free. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096 };

static int deep(int n)
{
	volatile unsigned char frame[2048];

	memset((void *)(uintptr_t)frame, n & 0xff, sizeof(frame));
	int below = n ? deep(n - 1) : 0;
	for (unsigned i = 0; i < sizeof(frame); i++)
		if (frame[i] != (n & 0xff))
			kind_fail("frame %d was changed", n);
	return below + 1;
}

/* Room below that nothing else takes, with a small mapping at its top that may grow into it. */
static unsigned char *growing(void)
{
	size_t room = 8 << 20;
	unsigned char *all = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(all != MAP_FAILED);
	CHECK(!munmap(all, room));
	unsigned char *top = all + room - 4 * SIZE;
	CHECK(mmap(top, 2 * SIZE, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_GROWSDOWN, -1, 0) == top);
	for (int i = 1; i < 20; i++)
		top[-i * SIZE] = (unsigned char)i;
	return top;
}

int main(int argc, char **argv)
{
	unsigned char *top, *heap;

	kind_init(argc, argv);
	CHECK_EQ(deep(200), 201);
	top = growing();
	heap = sbrk(40 * SIZE);
	CHECK(heap != (void *)-1);
	heap[SIZE] = 3;
	kind_ready();
	for (int i = 1; i < 20; i++)
		CHECK_EQ(top[-i * SIZE], i);
	for (int i = 20; i < 60; i++)
		top[-i * SIZE] = 1; /* grows on */
	CHECK_EQ(deep(1500), 1501);
	CHECK_EQ(heap[SIZE], 3);
	unsigned char *more = sbrk(100 * SIZE);
	CHECK(more == heap + 40 * SIZE);
	more[99 * SIZE] = 4;
	CHECK(sbrk(-100 * SIZE) == more + 100 * SIZE);
	kind_pass();
}
