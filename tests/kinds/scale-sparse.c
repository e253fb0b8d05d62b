/* SPDX-License-Identifier: Apache-2.0 */
/* A reservation of 64 GiB of which 100 MiB are touched, page by page, all over it. */
#include "kind.h"
#include <sys/mman.h>

enum { PAGES = 25600 };

int main(int argc, char **argv)
{
	size_t size = 64ul << 30, stride = size / PAGES & ~4095ul;
	unsigned char *v;

	kind_init(argc, argv);
	v = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (v == MAP_FAILED)
		kind_skip("cannot reserve 64 GiB: %s", strerror(errno));
	CHECK(!madvise(v, size, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < PAGES; i++)
		memcpy(v + i * stride + i % 4000, &i, sizeof(i));
	kind_ready();
	for (size_t i = 0; i < PAGES; i++) {
		size_t now;

		memcpy(&now, v + i * stride + i % 4000, sizeof(now));
		if (now != i)
			kind_fail("page %zu holds %zu", i, now);
		if (i % 97 == 0)
			CHECK_EQ(v[i * stride + 8192], 0); /* never touched */
	}
	kind_pass();
}
