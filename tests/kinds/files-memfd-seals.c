/* SPDX-License-Identifier: Apache-2.0 */
/* memfds: shared by processes and mapped writable, with a seal against further writers;
 * not executable; with all seals; of huge pages. */
#include "kind.h"
#include <sys/mman.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static char *map;

static int child(void *arg)
{
	kind_wait();
	map[1] = 'c';
	return 0;
}

int main(int argc, char **argv)
{
	int future, noexec, full;
	char buf[4] = "";
	struct stat st;
	pid_t pid;

	kind_init(argc, argv);
	future = memfd_create("future", MFD_ALLOW_SEALING);
	CHECK(!ftruncate(future, 8192));
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0);
	CHECK(map != MAP_FAILED);
	CHECK(!fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL));
	map[0] = 'p';
	pid = kind_fork(child, NULL);
	noexec = memfd_create("noexec", MFD_NOEXEC_SEAL);
	full = memfd_create("full", MFD_ALLOW_SEALING);
	CHECK_EQ(write(full, "x", 1), 1);
	CHECK(!fcntl(full, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	kind_ready();

	kind_join(pid);
	CHECK(map[0] == 'p' && map[1] == 'c');
	map[4096] = 'q';
	CHECK_EQ(pread(future, buf, 2, 0), 2);
	CHECK_STR(buf, "pc");
	CHECK_EQ(fcntl(future, F_GET_SEALS), F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED);
	if (noexec >= 0) {
		CHECK(fcntl(noexec, F_GET_SEALS) & F_SEAL_EXEC);
		CHECK(!fstat(noexec, &st));
		CHECK_EQ(st.st_mode & 0111, 0);
	}
	CHECK_EQ(fcntl(full, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	CHECK(ftruncate(full, 2) < 0 && write(full, "y", 1) < 0);
	kind_pass();
}
