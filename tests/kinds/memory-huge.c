/* SPDX-License-Identifier: Apache-2.0 */
/* Transparent huge pages come back as huge pages; mappings of reserved ones, private and
 * shared, where the machine has any. */
#include "kind.h"
#include <sys/mman.h>

enum { MIB = 1 << 20 };

static unsigned char *reserved(int flags)
{
	unsigned char *v = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_HUGETLB,
	                        -1, 0);

	if (v == MAP_FAILED)
		return NULL;
	v[2 * MIB + 5] = 6;
	return v;
}

int main(int argc, char **argv)
{
	unsigned char *v, *own, *shared;
	long before;

	kind_init(argc, argv);
	v = mmap(NULL, 34 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	v = (unsigned char *)(((uintptr_t)v + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
	if (madvise(v, 32 * MIB, MADV_HUGEPAGE))
		kind_skip("no transparent huge pages");
	for (long i = 0; i < 16 * MIB; i += 4096)
		memcpy(v + i, &i, sizeof(i));
	before = kind_smaps(v, "AnonHugePages");
	own = reserved(MAP_PRIVATE);
	shared = reserved(MAP_SHARED);
	kind_ready();
	for (long i = 0; i < 16 * MIB; i += 4096)
		CHECK(*(long *)(void *)(v + i) == i);
	while (kind_smaps(v, "AnonHugePages") < before) /* with --lazy they become so in the end */
		kind_sleep_ms(1);
	CHECK_EQ(v[20 * MIB], 0);
	CHECK(!own || (own[2 * MIB + 5] == 6 && own[0] == 0));
	CHECK(!shared || (shared[2 * MIB + 5] == 6 && shared[0] == 0));
	kind_pass();
}
