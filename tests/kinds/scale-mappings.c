/* SPDX-License-Identifier: Apache-2.0 */
/* 5,000 mappings (or argv[2]) that cannot be merged, each with a page of contents. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096 };

int main(int argc, char **argv)
{
	size_t n = (size_t)(argc > 2 ? atoi(argv[2]) : 5000);
	unsigned char *v;

	kind_init(argc, argv);
	v = mmap(NULL, n * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	for (size_t i = 0; i < n; i++)
		memcpy(v + i * SIZE, &i, sizeof(i));
	for (size_t i = 0; i < n; i += 2)
		CHECK(!mprotect(v + i * SIZE, SIZE, PROT_READ));
	kind_ready();
	for (size_t i = 0; i < n; i++)
		CHECK(!memcmp(v + i * SIZE, &i, sizeof(i)));
	kind_pass();
}
