/* SPDX-License-Identifier: Apache-2.0 */
/* A memfd: name, contents, seals, mapping. */
#include "kind.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
	int fd;
	char path[64], link[64] = "", *map;

	kind_init(argc, argv);
	fd = memfd_create("the name", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	CHECK_EQ(write(fd, "sealed", 6), 6);
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) /* older kernels */
		map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(map != MAP_FAILED);
	kind_ready();

	CHECK(!memcmp(map, "sealed", 6));
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	CHECK_EQ(pwrite(fd, "x", 1, 0), -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, link, sizeof(link) - 1) > 0);
	CHECK_STR(link, "/memfd:the name (deleted)");
	kind_pass();
}
