/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, restore: the watches, under their old numbers, which programs keep.
 * They are added last, when all files are opened and put back, so that nobody
 * hears of that. The kernel counts numbers up; those that are missing are used
 * up with a file of our own that nothing happens to, and what that reports is
 * read before the first real watch can report anything.
 */
#include "events.h"

#include <stdio.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#define MASK (IN_ALL_EVENTS | IN_UNMOUNT | IN_EXCL_UNLINK | IN_ONESHOT)
#define MOST_SKIPPED (1u << 22) /* numbers to use up; about a second for a million */
#define DRAIN_EVERY 1024        /* they report into a queue that is not endless */

int watch_check(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_watches; i++) {
		const Events__Watch *w = rec->watches[i];
		if (!w->wd || w->wd > INT_MAX || w->mask & ~(uint32_t)MASK || w->path[0] != '/' ||
		    (i && w->wd <= rec->watches[i - 1]->wd))
			return crcore_fail(err, -EBADMSG, "its record makes no sense");
	}
	if (rec->n_watches && rec->watches[rec->n_watches - 1]->wd > MOST_SKIPPED)
		return crcore_fail(err, -ENOTSUP, "a watch has the number %u, to which nobody can count in "
		                   "reasonable time", rec->watches[rec->n_watches - 1]->wd);
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

/* Uses up the numbers from next to before end. */
static int skip(int fd, uint32_t next, uint32_t end, const char *own)
{
	int r = 0;

	for (; !r && next < end; next++) {
		int wd = inotify_add_watch(fd, own, IN_DELETE_SELF);
		if (wd < 0)
			return -errno;
		if ((uint32_t)wd != next)
			return -EPROTO;
		if (inotify_rm_watch(fd, wd) < 0)
			return -errno;
		if (next % DRAIN_EVERY == 0)
			r = inotify_drain(fd);
	}
	return r ? r : inotify_drain(fd);
}

/* All in one go where no number is missing, which is the rule. Else the numbers are used
 * up before each; a file that changes just then would lose an event to the drain, but
 * no task runs, and what others do to it is as if it were done before the restore. */
static int add_all(const Events__Event *rec, int fd, const char *own, struct crcore_error *err)
{
	uint32_t next = 1;

	for (size_t i = 0; i < rec->n_watches; i++) {
		const Events__Watch *w = rec->watches[i];
		int r = w->wd > next ? skip(fd, next, w->wd, own) : 0, wd;
		if (r < 0)
			return crcore_fail(err, r, "cannot give a watch its number %u: %s", w->wd,
			                   strerror(-r));
		wd = inotify_add_watch(fd, w->path, w->mask);
		if (wd < 0) {
			r = -errno;
			crcore_advise(err, "raise /proc/sys/fs/inotify/max_user_watches");
			return crcore_fail(err, r, "cannot watch %.200s: %s", w->path, strerror(-r));
		}
		if ((uint32_t)wd != w->wd)
			return crcore_fail(err, -ENOTSUP, "watch %u on %.200s would get the number %d", w->wd,
			                   w->path, wd);
		next = w->wd + 1;
	}
	return 0;
}

int watch_settle(struct events *e, const Events__Event *rec, int fd, struct crcore_error *err)
{
	cleanup_close int own = memfd_create("crcore-watch", MFD_CLOEXEC);
	char path[40];
	int r;

	if (own < 0)
		return crcore_fail(err, -errno, "cannot make a file to use numbers up: %s",
		                   strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
	r = add_all(rec, fd, path, err);
	return !r && rec->inotify->overflow ? inotify_overflow(fd, path, err) : r;
}
