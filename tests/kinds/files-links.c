/* SPDX-License-Identifier: Apache-2.0 */
/* Hard links: both names deleted, one of them, the one by which the file is open, a name in
 * another folder; it stays one inode. (Run with --link-remap.) */
#include "kind.h"

static int open_at(const char *name)
{
	int fd = open(kind_path(name), O_RDWR | O_CREAT, 0600);

	CHECK(fd >= 0);
	return fd;
}

static void one_inode(int a, int b, nlink_t links, nlink_t hidden)
{
	struct stat x, y;
	char buf[8] = "";

	CHECK(!fstat(a, &x) && !fstat(b, &y));
	CHECK(x.st_ino == y.st_ino && x.st_dev == y.st_dev);
	CHECK(x.st_nlink == links || x.st_nlink == hidden);
	CHECK_EQ(pwrite(a, "both", 4, 0), 4);
	CHECK_EQ(pread(b, buf, 4, 0), 4);
	CHECK_STR(buf, "both");
}

int main(int argc, char **argv)
{
	int a, b, c, d, e, f;

	kind_init(argc, argv);
	CHECK(!mkdir(kind_path("far"), 0755));
	a = open_at("a");
	CHECK(!link(kind_path("a"), kind_path("b")));
	b = open_at("b");
	CHECK(!unlink(kind_path("a")) && !unlink(kind_path("b")));
	c = open_at("c");
	CHECK(!link(kind_path("c"), kind_path("d")));
	d = open_at("d");
	CHECK(!unlink(kind_path("c")));
	e = open_at("e");
	CHECK(!link(kind_path("e"), kind_path("far/f")));
	f = open_at("far/f");
	CHECK(!unlink(kind_path("e")));
	kind_busy(); /* a file with a name left is shown by that, or a hidden one */
	kind_ready();

	one_inode(a, b, 0, 0);
	one_inode(c, d, 1, 1);
	one_inode(e, f, 1, 2); /* a dump that leaves it running leaves the hidden name */
	CHECK(access(kind_path("a"), F_OK) && access(kind_path("c"), F_OK) && access(kind_path("e"), F_OK));
	kind_pass();
}
