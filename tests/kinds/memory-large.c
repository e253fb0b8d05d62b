/* SPDX-License-Identifier: Apache-2.0 */
/* More memory than one thread reads at a restore, in mappings of all sizes. */
#include "kind.h"
#include <sys/mman.h>

enum { LARGE = 200 << 20, SMALL = 300 };

static uint64_t next(uint64_t *s)
{
	return *s = *s * 6364136223846793005u + 1442695040888963407u;
}

static void fill(uint64_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = next(&seed);
}

static void verify(const uint64_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != next(&seed))
			kind_fail("word %zu of %p differs", i, (const void *)p);
}

static void *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

int main(int argc, char **argv)
{
	uint64_t *large, *small[SMALL];

	kind_init(argc, argv);
	large = map(LARGE);
	fill(large, LARGE / 8, 1);
	for (unsigned i = 0; i < SMALL; i++) {
		small[i] = map((i % 50 + 1) * 4096);
		fill(small[i], (i % 50 + 1) * 512, i + 2);
		CHECK(!mprotect(small[i], 4096, i % 2 ? PROT_READ : PROT_NONE));
	}
	kind_ready();
	verify(large, LARGE / 8, 1);
	for (unsigned i = 0; i < SMALL; i++) {
		CHECK(!mprotect(small[i], 4096, PROT_READ));
		verify(small[i], (i % 50 + 1) * 512, i + 2);
	}
	kind_pass();
}
