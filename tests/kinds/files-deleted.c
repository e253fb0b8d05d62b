/* SPDX-License-Identifier: Apache-2.0 */
/* A deleted file, open twice, mapped, held by two processes: it stays one file. */
#include "kind.h"
#include <sys/mman.h>
#include <sys/xattr.h>

enum { HOLE = 4 << 20 };

static int rw, ro;

static int child(void *arg)
{
	kind_wait();
	CHECK_EQ(pwrite(rw, "child", 5, 100), 5);
	return 0;
}

int main(int argc, char **argv)
{
	struct stat before, after;
	bool attributes;
	char *shared, *private, buf[8] = "";
	pid_t pid;

	kind_init(argc, argv);
	rw = open(kind_path("gone"), O_RDWR | O_CREAT, 0640);
	CHECK(rw >= 0);
	CHECK_EQ(write(rw, "contents", 8), 8);
	CHECK_EQ(pwrite(rw, "end", 3, HOLE), 3);
	ro = open(kind_path("gone"), O_RDONLY);
	shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, rw, 0);
	private = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
	CHECK(shared != MAP_FAILED && private != MAP_FAILED);
	private[4096] = 'p';
	attributes = !fsetxattr(rw, "user.colour", "blue", 4, 0);
	CHECK(!unlink(kind_path("gone")));
	CHECK(!fchmod(rw, 0604) && !fstat(rw, &before));
	pid = kind_fork(child, NULL);
	kind_ready();

	kind_join(pid);
	CHECK(!fstat(ro, &after));
	CHECK_EQ(after.st_nlink, 0);
	CHECK_EQ(after.st_size, HOLE + 3);
	CHECK_EQ(after.st_mode, before.st_mode);
	CHECK(!attributes || fgetxattr(ro, "user.colour", buf, sizeof(buf)) == 4);
	CHECK(!attributes || !memcmp(buf, "blue", 4));
	CHECK(after.st_blocks <= before.st_blocks + 16);
	CHECK_EQ(lseek(rw, 0, SEEK_CUR), 8);
	CHECK_EQ(pread(ro, buf, 5, 100), 5);
	CHECK_STR(buf, "child");
	CHECK(!memcmp(shared + 100, "child", 5));
	CHECK(!memcmp(shared, "contents", 8));
	shared[0] = 'C';
	CHECK_EQ(pread(ro, buf, 1, 0), 1);
	CHECK_EQ(buf[0], 'C');
	CHECK_EQ(private[0], 'C'); /* a page that was never written to follows the file */
	CHECK_EQ(private[4096], 'p');
	CHECK_EQ(pread(ro, buf, 4, HOLE), 3);
	CHECK(!memcmp(buf, "end", 3));
	CHECK(access(kind_path("gone"), F_OK) < 0);
	kind_pass();
}
