/* SPDX-License-Identifier: Apache-2.0 */
/* What O_TMPFILE opened can still get a name. */
#include "kind.h"

int main(int argc, char **argv)
{
	char path[64], buf[16] = "";
	int fd;

	kind_init(argc, argv);
	kind_busy(); /* /proc shows its inode as its name */
	fd = open(kind_path("."), O_TMPFILE | O_RDWR | O_APPEND, 0640);
	if (fd < 0)
		kind_skip("no O_TMPFILE here");
	CHECK_EQ(write(fd, "temporary", 9), 9);
	kind_ready();

	CHECK_EQ(write(fd, "!", 1), 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(!linkat(AT_FDCWD, path, AT_FDCWD, kind_path("named"), AT_SYMLINK_FOLLOW));
	close(fd);
	fd = open(kind_path("named"), O_RDONLY);
	CHECK_EQ(read(fd, buf, sizeof(buf)), 10);
	CHECK_STR(buf, "temporary!");
	CHECK(!unlink(kind_path("named")));
	kind_pass();
}
