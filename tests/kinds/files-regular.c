/* SPDX-License-Identifier: Apache-2.0 */
/* Regular files: offset, flags, close-on-exec, one description in several places. */
#include "kind.h"

static int append, shared, twice;

static int child(void *arg)
{
	kind_wait();
	CHECK_EQ(lseek(shared, 0, SEEK_CUR), 4);
	CHECK_EQ(write(shared, "5678", 4), 4);
	return 0;
}

int main(int argc, char **argv)
{
	char buf[16] = "";
	struct stat st;
	pid_t pid;
	int one, two;

	kind_init(argc, argv);
	append = open(kind_path("append"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	CHECK_EQ(write(append, "begin", 5), 5);
	shared = open(kind_path("shared"), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	CHECK_EQ(write(shared, "1234", 4), 4);
	twice = dup(shared);
	one = open(kind_path("append"), O_RDONLY | O_NOATIME);
	two = open(kind_path("append"), O_RDONLY | O_NOATIME);
	CHECK_EQ(lseek(one, 1, SEEK_SET), 1);
	CHECK_EQ(lseek(two, 1, SEEK_SET), 1);
	CHECK(dup2(shared, 700) == 700);
	pid = kind_fork(child, NULL);
	kind_ready();

	kind_join(pid);
	CHECK_EQ(lseek(shared, 0, SEEK_CUR), 8); /* the child moved it */
	CHECK_EQ(lseek(twice, 0, SEEK_CUR), 8);
	CHECK_EQ(lseek(700, 0, SEEK_CUR), 8);
	CHECK_EQ(fcntl(shared, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(twice, F_GETFD), 0);
	CHECK_EQ(fcntl(shared, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND), O_RDWR | O_NONBLOCK);
	CHECK_EQ(pread(shared, buf, 16, 0), 8);
	CHECK_STR(buf, "12345678");
	CHECK_EQ(lseek(append, 0, SEEK_SET), 0);
	CHECK_EQ(write(append, "end", 3), 3);
	CHECK_EQ(fcntl(append, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	CHECK(fstat(append, &st) == 0 && st.st_size == 8);
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(read(one, buf, 3), 3); /* two is another description */
	CHECK_EQ(read(two, buf + 3, 2), 2);
	CHECK_STR(buf, "egieg");
	CHECK_EQ(fcntl(one, F_GETFL) & O_NOATIME, O_NOATIME);
	kind_pass();
}
