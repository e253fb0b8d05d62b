/* SPDX-License-Identifier: Apache-2.0 */
/* fanotify: groups with marks on files, folders, a mount and a file system, ignored masks, flags;
 * nothing heard of the checkpoint itself. */
#include "kind.h"
#include <sys/fanotify.h>
#include <sys/ioctl.h>

#ifndef FAN_MARK_EVICTABLE
#define FAN_MARK_EVICTABLE 0x200
#endif
#ifndef FAN_MARK_IGNORE
#define FAN_MARK_IGNORE 0x400
#endif
#define MOUNT "/dev/shm" /* a file system of its own, which crcore does not touch here */

static char folder[PATH_MAX], plain[PATH_MAX], loose[PATH_MAX], calm[PATH_MAX], quiet[PATH_MAX + 8];

static void touch(const char *path)
{
	int f = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	CHECK(f >= 0 && write(f, "x", 1) == 1 && !close(f));
}

/* All that fdinfo says of the group and its marks, sorted: the kernel lists them in any order. */
static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *marks(int fd)
{
	char path[40], line[512], *v[32], *all = calloc(32, sizeof(line));
	unsigned n = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	CHECK(f && all);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "fanotify ", 9) && n < 32)
			v[n++] = strdup(line);
	fclose(f);
	qsort(v, n, sizeof(*v), by_text);
	for (unsigned i = 0; i < n; i++) {
		strcat(all, v[i]);
		free(v[i]);
	}
	CHECK(n > 1);
	return all;
}

static void nothing(int fd)
{
	int waiting = -1;

	CHECK(!ioctl(fd, FIONREAD, &waiting));
	CHECK_EQ(waiting, 0);
}

/* The next event is this one, and comes with a descriptor of that file (NULL: with a name). */
static void expect(int fd, uint64_t mask, const char *file)
{
	static char buf[4096] __attribute__((aligned(8)));
	struct fanotify_event_metadata *m = (void *)buf;
	char path[40], link[PATH_MAX] = "";

	CHECK(read(fd, buf, file ? sizeof(*m) : sizeof(buf)) >= (ssize_t)sizeof(*m));
	CHECK_EQ(m->mask, mask);
	if (!file) {
		CHECK_EQ(m->fd, FAN_NOFD);
		CHECK(m->event_len > sizeof(*m));
		return;
	}
	CHECK(m->fd >= 0 && (fcntl(m->fd, F_GETFD) & FD_CLOEXEC));
	CHECK_EQ(fcntl(m->fd, F_GETFL) & O_ACCMODE, O_RDWR);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
	CHECK(readlink(path, link, sizeof(link) - 1) > 0);
	CHECK_STR(link, file);
	close(m->fd);
}

/* Marks that newer kernels have: one that goes with the inode, and one that ignores some events
 * but no others. The file is held open, or the kernel may forget the first at any time. */
static bool add_newer(int a, int b)
{
	strcpy(loose, kind_path("loose"));
	strcpy(calm, kind_path("calm"));
	touch(loose);
	CHECK(!mkdir(calm, 0700) && open(loose, O_RDONLY | O_CLOEXEC) >= 0);
	if (fanotify_mark(a, FAN_MARK_ADD | FAN_MARK_EVICTABLE, FAN_MODIFY, AT_FDCWD, loose) ||
	    fanotify_mark(b, FAN_MARK_ADD | FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY,
	                  FAN_CREATE | FAN_ONDIR, AT_FDCWD, calm))
		return false;
	CHECK(!fanotify_mark(b, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE | FAN_ONDIR, AT_FDCWD, calm));
	return true;
}

static void check_newer(int a, int b)
{
	char path[PATH_MAX + 8];

	touch(loose);
	expect(a, FAN_MODIFY, loose);
	snprintf(path, sizeof(path), "%s/new", calm);
	CHECK(!mkdir(path, 0700));
	nothing(b);
	CHECK(!rmdir(path));
	expect(b, FAN_DELETE | FAN_ONDIR, NULL);
}

int main(int argc, char **argv)
{
	char path[PATH_MAX + 8], *before[3];

	kind_init(argc, argv);
	strcpy(folder, kind_path("folder"));
	strcpy(plain, kind_path("plain"));
	CHECK(!mkdir(folder, 0700));
	snprintf(quiet, sizeof(quiet), "%s/quiet", folder);
	touch(plain);
	touch(quiet);
	int a = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC, O_RDWR | O_CLOEXEC);
	if (a < 0 && (errno == ENOSYS || errno == EPERM))
		kind_skip("no fanotify");
	int b = fanotify_init(FAN_REPORT_DFID_NAME | FAN_UNLIMITED_MARKS | FAN_NONBLOCK, 0);
	int c = fanotify_init(FAN_REPORT_FID | FAN_UNLIMITED_QUEUE | FAN_CLOEXEC, O_LARGEFILE);
	CHECK(a >= 0 && b >= 0 && c >= 0);
	CHECK(!fanotify_mark(a, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, plain));
	CHECK(!fanotify_mark(a, FAN_MARK_ADD, FAN_MODIFY | FAN_EVENT_ON_CHILD, AT_FDCWD, folder));
	CHECK(!fanotify_mark(a, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY,
	                     FAN_MODIFY, AT_FDCWD, quiet));
	CHECK(!fanotify_mark(a, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, AT_FDCWD, MOUNT));
	CHECK(!fanotify_mark(b, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE | FAN_ONDIR, AT_FDCWD, folder));
	/* Other tests use it too: whatever comes is good. */
	bool whole = !fanotify_mark(c, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_CREATE, AT_FDCWD, MOUNT);
	bool newer = add_newer(a, b);
	before[0] = marks(a);
	before[1] = marks(b);
	before[2] = whole ? marks(c) : NULL;
	kind_ready();

	char *now[2] = { marks(a), marks(b) };
	CHECK_STR(now[0], before[0]);
	CHECK_STR(now[1], before[1]);
	if (whole)
		CHECK_STR(marks(c), before[2]);
	CHECK_EQ(fcntl(b, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_EQ(fcntl(b, F_GETFD), 0);
	nothing(a);
	nothing(b);
	touch(quiet);
	nothing(a);
	touch(plain);
	expect(a, FAN_MODIFY, plain);
	if (newer)
		check_newer(a, b);
	snprintf(path, sizeof(path), "%s/new", folder);
	CHECK(!mkdir(path, 0700));
	expect(b, FAN_CREATE | FAN_ONDIR, NULL);
	snprintf(path, sizeof(path), MOUNT "/crcore-%d", getpid());
	touch(path);
	unlink(path);
	strcat(path, " (deleted)");
	expect(a, FAN_OPEN, path);
	if (whole)
		expect(c, FAN_CREATE, NULL);
	nothing(a);
	nothing(b);
	kind_pass();
}
