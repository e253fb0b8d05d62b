/* SPDX-License-Identifier: Apache-2.0 */
/* The highest number that a descriptor can have, and all that are nearly as high, as valgrind
 * takes for itself. */
#include "kind.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
	struct rlimit l;
	struct stat a, b;
	long most = 1 << 20; /* fs.nr_open, mostly */

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_NOFILE, &l));
	if (l.rlim_max < (rlim_t)most)
		most = (long)l.rlim_max;
	l.rlim_cur = l.rlim_max;
	CHECK(!setrlimit(RLIMIT_NOFILE, &l));
	for (long fd = most - 1; fd > most - 20; fd--)
		CHECK(dup2(fd % 2, (int)fd) == fd);
	kind_ready();
	for (long fd = most - 1; fd > most - 20; fd--) {
		CHECK(!fstat((int)fd, &a));
		CHECK(!fstat(fd % 2, &b));
		CHECK_EQ(a.st_ino, b.st_ino);
	}
	CHECK(fstat((int)most - 20, &a) < 0 && errno == EBADF);
	kind_pass();
}
