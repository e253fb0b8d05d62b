/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is watched, by path. The kernel tells the inode and a file handle; the
 * restore needs a path. The handle opens the file, whatever it is called by
 * now, and /proc tells the path; where a file system cannot open by handle its
 * mount is searched.
 */
#include "events.h"

#include <fts.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#define DELETED " (deleted)"
#define SEARCH_MOST 200000 /* files looked at where a handle does not open */

static bool read_handle(const char *hex, struct watched *l)
{
	for (unsigned i = 0; i < l->handle.handle_bytes; i++) {
		unsigned byte;
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		l->handle.f_handle[i] = (unsigned char)byte;
	}
	return true;
}

void watched_handle(const char *line, struct watched *l)
{
	const char *p = strstr(line, "fhandle-bytes:");
	unsigned bytes = 0, type = 0;
	int at = 0;

	l->handle.handle_bytes = 0;
	if (p && sscanf(p, "fhandle-bytes:%x fhandle-type:%x f_handle:%n", &bytes, &type, &at) == 2 &&
	    at && bytes <= MAX_HANDLE_SZ) {
		l->handle.handle_bytes = bytes;
		l->handle.handle_type = (int)type;
		if (!read_handle(p + at, l))
			l->handle.handle_bytes = 0;
	}
}

static dev_t device_of(const struct watched *l)
{
	return makedev(l->sdev >> 20, l->sdev & 0xfffff);
}

/* The device is that of the file system in fdinfo, but on btrfs that of the subvolume in
 * what stat(2) says. */
static bool leads_to(const char *path, dev_t dev, ino_t ino, struct stat *st)
{
	return stat(path, st) == 0 && st->st_ino == ino && st->st_dev == dev;
}

/* 1: found, 0: not on this mount, -ENOENT: it has no name any more. */
static int path_by_handle(const char *mount, struct watched *l)
{
	cleanup_close int dir = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	size_t end = strlen(DELETED);
	struct stat opened;
	char link[40];
	ssize_t n;

	if (dir < 0 || !l->handle.handle_bytes)
		return 0;
	fd = open_by_handle_at(dir, &l->handle, O_PATH | O_CLOEXEC);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = fd < 0 || fstat(fd, &opened) < 0 || opened.st_ino != l->ino ? -1 :
	    readlink(link, l->path, PATH_MAX - 1);
	if (n < 0)
		return 0;
	l->path[n] = '\0';
	if (leads_to(l->path, opened.st_dev, opened.st_ino, &l->st))
		return 1;
	return (size_t)n > end && !strcmp(l->path + n - end, DELETED) ? -ENOENT : 0;
}

static int path_by_search(const char *mount, struct watched *l)
{
	char *const roots[] = { (char *)(uintptr_t)mount, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	unsigned left = SEARCH_MOST;
	int found = 0;
	FTSENT *f;

	while (fts && !found && left-- && (f = fts_read(fts))) {
		if (f->fts_info == FTS_DP || f->fts_info == FTS_NS || f->fts_statp->st_ino != l->ino ||
		    strlen(f->fts_path) >= PATH_MAX || !leads_to(f->fts_path, device_of(l), l->ino, &l->st))
			continue;
		strcpy(l->path, f->fts_path);
		found = 1;
	}
	if (fts)
		fts_close(fts);
	return found;
}

/* Tries every mount of the file system. */
static int each_mount(struct events *e, struct watched *l, bool search)
{
	const struct mounts *m = mounts_read(e);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < m->n; i++)
		if (m->v[i].sdev == l->sdev)
			r = search ? path_by_search(m->v[i].path, l) : path_by_handle(m->v[i].path, l);
	return r;
}

int watched_find(struct events *e, struct watched *l, const char *what, struct crcore_error *err)
{
	int r = each_mount(e, l, false);

	if (!r)
		r = each_mount(e, l, true);
	if (r > 0)
		return 0;
	crcore_advise(err, "let the program remove it");
	if (r == -ENOENT)
		return crcore_fail(err, -ENOTSUP, "%s is on a deleted file: %.200s", what, l->path);
	return crcore_fail(err, -ENOTSUP, "no path is found for %s (inode %llu of device %u:%u)", what,
	                   l->ino, l->sdev >> 20, l->sdev & 0xfffff);
}
