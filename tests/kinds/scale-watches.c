/* SPDX-License-Identifier: Apache-2.0 */
/* 15,000 watches of one inotify, as of who watches a large tree of folders. */
#include "kind.h"
#include <sys/inotify.h>

static int count = 15000;

static const char *file(int i)
{
	char name[32];

	snprintf(name, sizeof(name), "%d", i);
	return kind_path(name);
}

/* Each has its number, and tells of its own file alone. */
static void check(int fd, const int *wd, int i)
{
	struct inotify_event e;

	CHECK(!chmod(file(i), 0600));
	CHECK_EQ(read(fd, &e, sizeof(e)), sizeof(e));
	CHECK_EQ(e.wd, wd[i]);
	CHECK_EQ(e.mask, IN_ATTRIB);
}

int main(int argc, char **argv)
{
	int fd, *wd;

	kind_init(argc, argv);
	if (getenv("CRCORE_TEST_SHORT"))
		count = 1500;
	CHECK((fd = inotify_init1(IN_NONBLOCK)) >= 0);
	CHECK((wd = calloc((size_t)count, sizeof(*wd))));
	for (int i = 0; i < count; i++) {
		close(creat(file(i), 0666));
		wd[i] = inotify_add_watch(fd, file(i), IN_ATTRIB);
		if (wd[i] < 0 && errno == ENOSPC)
			kind_skip("only %d watches are allowed", i);
		CHECK(wd[i] > 0);
	}
	kind_ready();
	for (int i = 0; i < count; i += count / 100)
		check(fd, wd, i);
	kind_pass();
}
