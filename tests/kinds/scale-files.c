/* SPDX-License-Identifier: Apache-2.0 */
/* 1,000 open files and 1,000 pipes (or argv[2] of each), with offsets and contents. */
#include "kind.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 1000;
	struct rlimit lim;
	int *file, (*pipes)[2];
	char name[32];

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_NOFILE, &lim));
	if (lim.rlim_max < (rlim_t)n * 3 + 10)
		kind_skip("only %ld descriptors are allowed", (long)lim.rlim_max);
	lim.rlim_cur = (rlim_t)n * 3 + 10;
	CHECK(!setrlimit(RLIMIT_NOFILE, &lim));
	file = calloc((size_t)n, sizeof(*file));
	pipes = calloc((size_t)n, sizeof(*pipes));
	CHECK(!mkdir(kind_path("files"), 0777));
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "files/%d", i);
		file[i] = open(kind_path(name), O_RDWR | O_CREAT | (i % 3 ? 0 : O_APPEND), 0666);
		CHECK(file[i] >= 0 && write(file[i], name, 8) == 8);
		CHECK_EQ(lseek(file[i], i % 8, SEEK_SET), i % 8);
		CHECK(!pipe(pipes[i]) && write(pipes[i][1], &i, sizeof(i)) == sizeof(i));
	}
	kind_ready();
	for (int i = 0; i < n; i++) {
		int got;

		CHECK_EQ(lseek(file[i], 0, SEEK_CUR), i % 8);
		CHECK_EQ(fcntl(file[i], F_GETFL) & O_APPEND, i % 3 ? 0 : O_APPEND);
		CHECK(read(pipes[i][0], &got, sizeof(got)) == sizeof(got));
		CHECK_EQ(got, i);
	}
	kind_pass();
}
