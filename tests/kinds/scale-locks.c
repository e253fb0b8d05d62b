/* SPDX-License-Identifier: Apache-2.0 */
/* 40,000 record locks of one process, on 20 files. */
#include "kind.h"

enum { FILES = 20 };

static int count = 40000, fds[FILES];

static int child(void *arg)
{
	for (int i = 0; i < count; i += 100) {
		struct flock l = { .l_type = F_WRLCK, .l_start = 2 * i, .l_len = 2 };
		CHECK(!fcntl(fds[i % FILES], F_GETLK, &l));
		CHECK_EQ(l.l_type, i & 1 ? F_RDLCK : F_WRLCK);
		CHECK_EQ(l.l_pid, getppid());
		CHECK_EQ(l.l_start, 2 * i);
		CHECK_EQ(l.l_len, 1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char name[32];

	kind_init(argc, argv);
	if (getenv("CRCORE_TEST_SHORT"))
		count = 2000;
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		CHECK((fds[i] = open(kind_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) >= 0);
	}
	for (int i = 0; i < count; i++) { /* not side by side, or they would become one */
		struct flock l = { .l_type = i & 1 ? F_RDLCK : F_WRLCK, .l_start = 2 * i, .l_len = 1 };
		CHECK(!fcntl(fds[i % FILES], F_SETLK, &l));
	}
	kind_ready();
	kind_join(kind_fork(child, NULL));
	kind_pass();
}
