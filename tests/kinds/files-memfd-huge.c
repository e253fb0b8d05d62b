/* SPDX-License-Identifier: Apache-2.0 */
/* A memfd of huge pages: contents, holes, name, seals, shared and private mappings of it, one more
 * description; one that is only held. */
#include "kind.h"
#include <sys/mman.h>

enum { MIB = 1 << 20, SIZE = 6 * MIB };

int main(int argc, char **argv)
{
	struct stat before, after;
	char link[64] = "", path[40];

	kind_init(argc, argv);
	int fd = memfd_create("huge one", MFD_HUGETLB | 21U << 26 | MFD_ALLOW_SEALING);
	int held = memfd_create("held", MFD_HUGETLB | 21U << 26 | MFD_CLOEXEC);
	if (fd < 0 || held < 0)
		kind_skip("no huge pages of 2 MiB");
	CHECK(!ftruncate(fd, SIZE) && !fchmod(fd, 0640));
	unsigned char *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned char *own = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 2 * MIB);
	if (shared == MAP_FAILED || own == MAP_FAILED)
		kind_skip("no huge pages are reserved");
	for (int i = 0; i < 2 * MIB; i += 512)
		shared[2 * MIB + i] = (unsigned char)(i / 512 % 251);
	shared[3] = 4;
	own[1024] = 99;
	CHECK_EQ(own[512], 1);
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	CHECK_EQ(kind_smaps(shared, "KernelPageSize"), 2048);
	CHECK(!fstat(fd, &before));
	kind_busy(); /* which of them are in its page table is not kept */
	kind_ready();

	CHECK_EQ(kind_smaps(shared, "KernelPageSize"), 2048);
	CHECK_EQ(kind_smaps(own, "KernelPageSize"), 2048);
	for (int i = 0; i < 2 * MIB; i += 512) {
		CHECK_EQ(shared[2 * MIB + i], i / 512 % 251);
		CHECK_EQ(own[i], i == 1024 ? 99 : i / 512 % 251);
	}
	CHECK(shared[3] == 4 && !shared[4] && !shared[5 * MIB]);
	CHECK(!fstat(fd, &after));
	CHECK(after.st_size == SIZE && after.st_mode == before.st_mode && after.st_blksize == 2 * MIB);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, link, sizeof(link) - 1) > 0);
	CHECK_STR(link, "/memfd:huge one (deleted)");
	CHECK(!fstat(held, &after) && !after.st_size && after.st_blksize == 2 * MIB);
	shared[7] = 8;
	unsigned char *again = mmap(NULL, 2 * MIB, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(again != MAP_FAILED && again[7] == 8 && again[3] == 4);
	kind_pass();
}
