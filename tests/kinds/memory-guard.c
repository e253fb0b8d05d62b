/* SPDX-License-Identifier: Apache-2.0 */
/* Guard pages within a mapping (MADV_GUARD_INSTALL): still deadly, their neighbours intact. */
#include "kind.h"
#include <setjmp.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
enum { SIZE = 4096, PAGES = 64 };

static sigjmp_buf back;

static void caught(int sig)
{
	siglongjmp(back, sig);
}

static bool deadly(volatile unsigned char *p)
{
	if (sigsetjmp(back, 1))
		return true;
	(void)*p;
	return false;
}

int main(int argc, char **argv)
{
	unsigned char *v;

	kind_init(argc, argv);
	signal(SIGSEGV, caught);
	v = mmap(NULL, PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	memset(v, 1, 32 * SIZE);
	if (madvise(v + 10 * SIZE, 3 * SIZE, MADV_GUARD_INSTALL))
		kind_skip("the kernel has no guard pages");
	CHECK(!madvise(v + 40 * SIZE, SIZE, MADV_GUARD_INSTALL));
	kind_ready();
	for (int i = 0; i < PAGES; i++)
		if (deadly(v + i * SIZE) != ((i >= 10 && i < 13) || i == 40))
			kind_fail("page %d is %s", i, deadly(v + i * SIZE) ? "guarded" : "not guarded");
	for (int i = 0; i < PAGES; i++)
		if (!((i >= 10 && i < 13) || i == 40))
			CHECK_EQ(v[i * SIZE + 7], i < 32);
	CHECK(!madvise(v + 10 * SIZE, SIZE, MADV_GUARD_REMOVE));
	CHECK_EQ(v[10 * SIZE], 0);
	kind_pass();
}
