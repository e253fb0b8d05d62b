/* SPDX-License-Identifier: Apache-2.0 */
/* The program's own file is deleted, and another has its name. */
#include "kind.h"

int main(int argc, char **argv)
{
	char link[PATH_MAX + 16] = "", want[PATH_MAX + 16], copy[PATH_MAX];
	struct stat before, after;
	ssize_t n;

	kind_init(argc, argv);
	snprintf(copy, sizeof(copy), "%s", kind_path("program"));
	if (!getenv("COPY")) {
		char command[3 * PATH_MAX];
		snprintf(command, sizeof(command), "cp -- '%s' '%s'", argv[0], copy);
		CHECK(!system(command));
		setenv("COPY", "1", 1);
		execv(copy, argv);
		kind_fail("cannot run %s", copy);
	}
	kind_busy(); /* its old name is taken, so /proc shows another */
	CHECK(!stat("/proc/self/exe", &before));
	CHECK(!unlink(copy));
	close(creat(copy, 0700));
	kind_ready();

	n = readlink("/proc/self/exe", link, sizeof(link) - 1);
	CHECK(n > 0);
	/* Its name may be another, since its own is taken; it must not be the new file. */
	snprintf(want, sizeof(want), "%s", copy);
	CHECK(strcmp(link, want) != 0);
	CHECK(!strcmp(link + n - 10, " (deleted)"));
	CHECK(!stat("/proc/self/exe", &after));
	CHECK_EQ(after.st_size, before.st_size);
	CHECK_EQ(after.st_mode, before.st_mode);
	CHECK(!stat(copy, &after));
	CHECK_EQ(after.st_size, 0);
	kind_pass();
}
