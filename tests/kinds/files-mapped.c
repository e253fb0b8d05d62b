/* SPDX-License-Identifier: Apache-2.0 */
/* Mapped files whose descriptors are closed: shared ones reach the file and each other. */
#include "kind.h"
#include <sys/mman.h>

static char *map(const char *name, int flags, int prot)
{
	int fd = open(kind_path(name), prot & PROT_WRITE && flags & MAP_SHARED ? O_RDWR : O_RDONLY);
	char *p = mmap(NULL, 16384, prot, flags, fd, 4096);

	CHECK(p != MAP_FAILED);
	close(fd);
	return p;
}

static char *shared;

static int child(void *arg)
{
	kind_wait();
	shared[2] = 'c';
	return 0;
}

int main(int argc, char **argv)
{
	char *other, *private, *reader, page[4096], c = 0;
	pid_t pid;
	int fd;

	kind_init(argc, argv);
	fd = open(kind_path("data"), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < 8; i++) {
		memset(page, 'a' + i, sizeof(page));
		CHECK_EQ(write(fd, page, sizeof(page)), 4096);
	}
	close(fd);
	shared = map("data", MAP_SHARED, PROT_READ | PROT_WRITE);
	other = map("data", MAP_SHARED, PROT_READ | PROT_WRITE);
	private = map("data", MAP_PRIVATE, PROT_READ | PROT_WRITE);
	reader = map("data", MAP_SHARED, PROT_READ);
	private[4096] = 'P';
	shared[0] = 'S';
	pid = kind_fork(child, NULL);
	kind_ready();

	kind_join(pid);
	shared[1] = 'T';
	CHECK(other[0] == 'S' && other[1] == 'T' && other[2] == 'c' && other[3] == 'b');
	CHECK(reader[1] == 'T' && reader[4096] == 'c');
	CHECK(private[0] == 'S' && private[1] == 'T' && private[4096] == 'P' && private[4097] == 'c');
	private[8192] = 'Q';
	CHECK_EQ(reader[8192], 'd');
	fd = open(kind_path("data"), O_RDONLY);
	CHECK_EQ(pread(fd, &c, 1, 4097), 1);
	CHECK_EQ(c, 'T');
	kind_pass();
}
