/* SPDX-License-Identifier: Apache-2.0 */
/* 64 MiB of memory (or argv[2] MiB), private (or argv[3]: shared), with contents that do not repeat. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096 };

static void fill(uint64_t *page, uint64_t number)
{
	for (uint64_t i = 0; i < SIZE / 8; i++)
		page[i] = (number << 12 | i) * 0x9e3779b97f4a7c15u;
}

int main(int argc, char **argv)
{
	size_t pages = (size_t)(argc > 2 ? atoi(argv[2]) : 64) << 8;
	uint64_t want[SIZE / 8];
	char *v;

	kind_init(argc, argv);
	v = mmap(NULL, pages * SIZE, PROT_READ | PROT_WRITE,
	         (argc > 3 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	for (size_t i = 0; i < pages; i++)
		fill((uint64_t *)(void *)(v + i * SIZE), i);
	kind_ready();
	for (size_t i = 0; i < pages; i++) {
		fill(want, i);
		if (memcmp(v + i * SIZE, want, SIZE))
			kind_fail("page %zu differs", i);
	}
	kind_pass();
}
