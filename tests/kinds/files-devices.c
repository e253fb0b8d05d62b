/* SPDX-License-Identifier: Apache-2.0 */
/* The plain devices, by descriptor and by mapping; files of /proc and /sys. */
#include "kind.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
	static const char *const names[] = { "null", "zero", "full", "random", "urandom" };
	int fd[5], mem, own, threads;
	char path[64], buf[4096], *zero;

	kind_init(argc, argv);
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "/dev/%s", names[i]);
		fd[i] = open(path, i == 2 ? O_RDWR : O_RDONLY);
		CHECK(fd[i] >= 0);
	}
	zero = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd[1], 0);
	CHECK(zero != MAP_FAILED);
	zero[0] = 'z';
	mem = open("/proc/meminfo", O_RDONLY);
	own = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	threads = open("/proc/sys/kernel/threads-max", O_RDONLY);
	CHECK_EQ(read(own, buf, 5), 5);
	kind_ready();

	CHECK_EQ(read(fd[0], buf, 10), 0);
	CHECK_EQ(read(fd[1], buf, 10), 10);
	CHECK_EQ(buf[9], 0);
	CHECK(write(fd[2], "x", 1) < 0 && errno == ENOSPC);
	CHECK_EQ(read(fd[3], buf, 1), 1);
	CHECK_EQ(read(fd[4], buf, 10), 10);
	CHECK(zero[0] == 'z' && zero[4096] == 0);
	CHECK(read(mem, buf, sizeof(buf)) > 0 && !strncmp(buf, "MemTotal", 8));
	CHECK(read(threads, buf, sizeof(buf)) > 0);
	CHECK_EQ(lseek(own, 0, SEEK_CUR), 5);
	CHECK_EQ(lseek(own, 0, SEEK_SET), 0);
	memset(buf, 0, sizeof(buf));
	CHECK(read(own, buf, sizeof(buf) - 1) > 0);
	snprintf(path, sizeof(path), "\nPid:\t%d\n", getpid());
	CHECK(strstr(buf, path) != NULL);
	CHECK_EQ(fcntl(own, F_GETFD), FD_CLOEXEC);
	kind_pass();
}
