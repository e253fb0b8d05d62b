/* SPDX-License-Identifier: Apache-2.0 */
/* Private mappings of a file: pages that were changed, changed to zero, thrown away
 * again, not touched; and of /dev/zero. Untouched pages still follow the file. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096, PAGES = 12 };

int main(int argc, char **argv)
{
	unsigned char page[SIZE], *v, *zero;
	int fd;

	kind_init(argc, argv);
	fd = open(kind_path("data"), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < PAGES + 2; i++) {
		memset(page, i + 1, SIZE);
		CHECK_EQ(write(fd, page, SIZE), SIZE);
	}
	v = mmap(NULL, PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 2 * SIZE);
	CHECK(v != MAP_FAILED);
	close(fd);
	fd = open("/dev/zero", O_RDWR);
	zero = mmap(NULL, PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(zero != MAP_FAILED);
	close(fd);
	zero[SIZE] = 77;
	CHECK_EQ(zero[5 * SIZE], 0);
	v[1 * SIZE + 5] = 200;
	memset(v + 2 * SIZE, 0, SIZE);
	v[3 * SIZE] = 201;
	CHECK(!madvise(v + 3 * SIZE, SIZE, MADV_DONTNEED));
	v[4 * SIZE] = 202;
	CHECK(!mprotect(v + 4 * SIZE, SIZE, PROT_NONE));
	CHECK(!mprotect(v + 8 * SIZE, SIZE, PROT_READ | PROT_EXEC));
	kind_ready();
	CHECK(!mprotect(v + 4 * SIZE, SIZE, PROT_READ));
	for (int i = 0; i < PAGES; i++)
		for (int k = 0; k < SIZE; k++) {
			int want = i == 2 ? 0 : i + 3;
			if (i == 1 && k == 5)
				want = 200;
			if (i == 4 && k == 0)
				want = 202;
			if (v[i * SIZE + k] != want)
				kind_fail("page %d byte %d is %d, not %d", i, k, v[i * SIZE + k], want);
		}
	CHECK(zero[SIZE] == 77 && zero[SIZE + 1] == 0 && zero[6 * SIZE] == 0);
	zero[7 * SIZE] = 1;
	fd = open(kind_path("data"), O_RDWR);
	CHECK_EQ(pwrite(fd, "!", 1, 12 * SIZE), 1);
	close(fd);
	CHECK_EQ(v[10 * SIZE], '!');
	kind_pass();
}
