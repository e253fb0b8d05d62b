/* SPDX-License-Identifier: Apache-2.0 */
/* inotify: watches on folders and files with gaps in their numbers, masks, oneshot, nothing
 * heard of the checkpoint itself. */
#include "kind.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

#define SETNEXTWD _IOW('I', 0, int32_t) /* INOTIFY_IOC_SETNEXTWD */
#define OLD_AGE 2000000000

static int fd;

static void touch(const char *path)
{
	int f = open(path, O_WRONLY | O_CREAT, 0600);

	CHECK(f >= 0 && write(f, "x", 1) == 1 && !close(f));
}

/* The next event, and that it is this one. */
static void expect(int wd, uint32_t mask, const char *name)
{
	static union { struct inotify_event e; char room[4096]; } buf;
	static ssize_t len, at;
	struct inotify_event *e;

	if (at >= len) {
		len = read(fd, &buf, sizeof(buf));
		at = 0;
		if (len < 0 && !mask && errno == EAGAIN)
			return;
		CHECK(len > 0);
	}
	e = (struct inotify_event *)(void *)(buf.room + at);
	at += (ssize_t)sizeof(*e) + e->len;
	if (e->wd != wd || e->mask != mask || strcmp(e->len ? e->name : "", name))
		kind_fail("wd %d mask %#x name \"%s\" instead of %d %#x \"%s\"", e->wd, e->mask,
		          e->len ? e->name : "", wd, mask, name);
}

int main(int argc, char **argv)
{
	char folder[PATH_MAX], file[PATH_MAX], once[PATH_MAX], path[PATH_MAX + 16];
	int wd[3], f;

	kind_init(argc, argv);
	strcpy(folder, kind_path("watched folder"));
	strcpy(file, kind_path("file"));
	strcpy(once, kind_path("once"));
	CHECK(!mkdir(folder, 0700));
	touch(file);
	touch(once);
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(inotify_add_watch(fd, "/proc", IN_DELETE_SELF), 1);
	CHECK_EQ(inotify_add_watch(fd, "/", IN_DELETE_SELF), 2);
	wd[0] = inotify_add_watch(fd, folder, IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR | IN_EXCL_UNLINK);
	CHECK(!inotify_rm_watch(fd, 1) && !inotify_rm_watch(fd, 2));
	wd[1] = inotify_add_watch(fd, file, IN_ALL_EVENTS);
	CHECK_EQ(inotify_add_watch(fd, "/proc", IN_DELETE_SELF), wd[1] + 1);
	CHECK(!inotify_rm_watch(fd, wd[1] + 1));
	CHECK(!ioctl(fd, SETNEXTWD, OLD_AGE)); /* as after many watches that came and went */
	wd[2] = inotify_add_watch(fd, once, IN_MODIFY | IN_ONESHOT);
	CHECK(wd[0] == 3 && wd[1] == 4 && wd[2] == OLD_AGE);
	expect(1, IN_IGNORED, "");
	expect(2, IN_IGNORED, "");
	expect(5, IN_IGNORED, "");
	expect(0, 0, "");
	f = open(file, O_RDONLY); /* opened again by the restore; nobody hears of it */
	expect(4, IN_OPEN, "");
	kind_ready();

	expect(0, 0, "");
	snprintf(path, sizeof(path), "%s/new", folder);
	touch(path);
	CHECK(!unlink(path));
	expect(3, IN_CREATE, "new");
	expect(3, IN_DELETE, "new");
	CHECK_EQ(read(f, path, 1), 1);
	expect(4, IN_ACCESS, "");
	CHECK(!close(f));
	expect(4, IN_CLOSE_NOWRITE, "");
	touch(once);
	expect(OLD_AGE, IN_MODIFY, "");
	expect(OLD_AGE, IN_IGNORED, "");
	touch(once);
	expect(0, 0, "");
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	kind_pass();
}
