/* SPDX-License-Identifier: Apache-2.0 */
/* inotify with an event that nobody has read, and queued set to overflow: the event is
 * still there, or the program is told that some were lost, and nothing else. */
#include "kind.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	union { struct inotify_event e; char room[4096]; } buf;
	char folder[PATH_MAX], path[PATH_MAX + 8];
	int fd, wd, waiting;

	kind_init(argc, argv);
	strcpy(folder, kind_path("folder"));
	CHECK(!mkdir(folder, 0700));
	fd = inotify_init1(IN_NONBLOCK);
	wd = inotify_add_watch(fd, folder, IN_CREATE);
	snprintf(path, sizeof(path), "%s/one", folder);
	CHECK(!mkdir(path, 0700));
	CHECK(!ioctl(fd, FIONREAD, &waiting) && waiting > 0);
	kind_ready();

	CHECK(read(fd, &buf, sizeof(buf)) > 0);
	if (buf.e.mask & IN_Q_OVERFLOW)
		CHECK_EQ(buf.e.wd, -1);
	else
		CHECK_STR(buf.e.name, "one");
	CHECK(read(fd, &buf, sizeof(buf)) < 0 && errno == EAGAIN);
	path[strlen(path) - 1] = 'f';
	CHECK(!mkdir(path, 0700));
	CHECK(read(fd, &buf, sizeof(buf)) > 0);
	CHECK_EQ(buf.e.wd, wd);
	CHECK_STR(buf.e.name, "onf");
	CHECK(read(fd, &buf, sizeof(buf)) < 0 && errno == EAGAIN);
	kind_pass();
}
