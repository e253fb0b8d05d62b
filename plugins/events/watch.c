/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, restore: the watches, under their old numbers, which programs keep.
 * They are added last, when all files are opened and put back, so that nobody
 * hears of that.
 */
#include "events.h"

#include <sys/inotify.h>

#ifndef INOTIFY_IOC_SETNEXTWD /* not in the C library's header */
#define INOTIFY_IOC_SETNEXTWD _IOW('I', 0, int32_t)
#endif

#define MASK (IN_ALL_EVENTS | IN_UNMOUNT | IN_EXCL_UNLINK | IN_ONESHOT)

int watch_check(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_watches; i++) {
		const Events__Watch *w = rec->watches[i];
		if (!w->wd || w->wd > INT_MAX || w->mask & ~(uint32_t)MASK || w->path[0] != '/' ||
		    (i && w->wd <= rec->watches[i - 1]->wd))
			return crcore_fail(err, -EBADMSG, "its record makes no sense");
	}
	return 0;
}

int watch_check_path(struct events *e, const char *path, uint64_t ino, uint32_t mode,
                     struct crcore_error *err)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		crcore_advise(err, "make it before the restore");
		return crcore_fail(err, -errno, "it watches %.200s, which is not there: %s", path,
		                   strerror(errno));
	}
	if ((st.st_mode & S_IFMT) != mode)
		return crcore_fail(err, -ENOTSUP, "it watches %.200s, which is of another type now", path);
	if (st.st_ino != ino)
		e->host->log(e->ctx, 2, "%s is another file now; it is watched all the same", path);
	return 0;
}

int watch_create(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	int fd, r = 0;

	for (size_t i = 0; !r && i < rec->n_watches; i++) {
		const Events__Watch *w = rec->watches[i];
		r = watch_check_path(e, w->path, w->ino, w->mode, err);
	}
	if (r < 0)
		return r;
	fd = inotify_init1(IN_CLOEXEC | ((int)rec->flags & O_NONBLOCK));
	if (fd < 0) {
		crcore_advise(err, "raise /proc/sys/fs/inotify/max_user_instances");
		return crcore_fail(err, -errno, "cannot make it: %s", strerror(errno));
	}
	return fd;
}

/* Each gets the number that it had, by which the program knows it. */
static int add(const Events__Watch *w, int fd, struct crcore_error *err)
{
	int wd = -1, r;

	if (ioctl(fd, INOTIFY_IOC_SETNEXTWD, w->wd) == 0)
		wd = inotify_add_watch(fd, w->path, w->mask);
	if ((uint32_t)wd == w->wd)
		return 0;
	if (wd >= 0)
		return crcore_fail(err, -ENOTSUP, "watch %u on %.200s would get the number %d", w->wd,
		                   w->path, wd);
	r = -errno;
	if (r == -ENOSPC)
		crcore_advise(err, "raise /proc/sys/fs/inotify/max_user_watches");
	return crcore_fail(err, r, "cannot watch %.200s: %s", w->path, strerror(-r));
}

int watch_settle(struct events *e, const Events__Event *rec, int fd, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; !r && i < rec->n_watches; i++)
		r = add(rec->watches[i], fd, err);
	return !r && rec->inotify->overflow ? inotify_overflow(fd, err) : r;
}
