/* SPDX-License-Identifier: Apache-2.0 */
/* Private anonymous memory: a pattern in it, holes, pages never touched, read-only and
 * PROT_NONE pages with contents. */
#include "kind.h"
#include <sys/mman.h>

enum { PAGES = 2000, SIZE = 4096 };

static bool touched(unsigned page)
{
	return page % 7 != 3 && page / 100 % 3 != 1;
}

int main(int argc, char **argv)
{
	unsigned char *v;

	kind_init(argc, argv);
	v = mmap(NULL, PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	for (unsigned i = 0; i < PAGES; i++)
		if (touched(i))
			memset(v + i * SIZE, (int)(i * 31 + 1) & 0xff, SIZE);
	CHECK(!mprotect(v + 10 * SIZE, SIZE, PROT_READ));
	CHECK(!mprotect(v + 20 * SIZE, SIZE, PROT_NONE));
	CHECK(!munmap(v + 30 * SIZE, SIZE));
	kind_ready();
	CHECK(!mprotect(v + 20 * SIZE, SIZE, PROT_READ));
	CHECK(madvise(v + 30 * SIZE, SIZE, MADV_NORMAL) < 0 && errno == ENOMEM);
	for (unsigned i = 0; i < PAGES; i++) {
		unsigned char want = touched(i) ? (unsigned char)(i * 31 + 1) : 0;

		for (unsigned j = 0; i != 30 && j < SIZE; j++)
			if (v[i * SIZE + j] != want)
				kind_fail("page %u byte %u is %u, not %u", i, j, v[i * SIZE + j], want);
	}
	kind_pass();
}
