/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: the files are made, in the order of the archive; directories get
 * their owner and times when all is in them. Every change has an undo entry
 * made before it. What a file replaces is renamed, and removed only when the
 * whole restore has succeeded.
 *
 * Others may write to these directories. So what is removed, linked or given
 * away is first compared with what was made: it must be that very inode.
 */
#include "tmpfiles.h"

#include "plugins/wills.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

static void take_back(void *arg)
{
	struct member *e = arg;
	const char *name;
	struct stat st;
	cleanup_close int dir = place_parent(e->t, e->path, &name);
	bool ok = dir >= 0;

	if (ok && e->made && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == e->dev &&
	    st.st_ino == e->ino)
		ok = unlinkat(dir, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) == 0;
	if (ok && e->aside[0]) {
		ok = renameat2(dir, e->aside, dir, name, RENAME_NOREPLACE) == 0 || errno == ENOENT;
		if (ok)
			e->aside[0] = '\0';
	}
	if (!ok && (e->made || e->aside[0]))
		e->t->host->log(e->t->ctx, 1, "%s could not be taken back%s%s", e->path,
		                e->aside[0] ? "; what was there is beside it as " : "", e->aside);
	e->made = false;
}

/* At the end, if all went well: what take_back() did not need. */
static void drop_old(void *arg)
{
	struct member *e = arg;
	const char *name;
	cleanup_close int dir = e->made && e->aside[0] ? place_parent(e->t, e->path, &name) : -1;

	if (dir >= 0 && unlinkat(dir, e->aside, 0) < 0)
		e->t->host->log(e->t->ctx, 1, "%s: what was there is left beside it as %s", e->path,
		                e->aside);
}

static int will_put_aside_back(const struct member *e, struct crcore_error *err)
{
	const char *slash = strrchr(e->path, '/');
	char aside[PATH_MAX];
	int n = snprintf(aside, sizeof(aside), "%.*s%s", (int)(slash + 1 - e->path), e->path, e->aside);

	return n < (int)sizeof(aside) ? will_put_back(e->t->host, e->t->ctx, aside, e->path, err) :
	       -ENAMETOOLONG;
}

static int put_aside(struct member *e, int dir, const char *name, struct crcore_error *err)
{
	static const char format[] = ".crcore-old-%d-%x";
	int r = e->t->host->undo(e->t->ctx, drop_old, e, true, err);

	if (r == 0)
		r = e->t->host->undo(e->t->ctx, take_back, e, false, err);
	if (r < 0)
		return r;
	snprintf(e->aside, sizeof(e->aside), format, (int)getpid(), (unsigned)(uintptr_t)e >> 4);
	if ((r = will_put_aside_back(e, err)) < 0) {
		e->aside[0] = '\0';
		return r;
	}
	if (renameat2(dir, name, dir, e->aside, RENAME_NOREPLACE) < 0) {
		r = -errno;
		e->aside[0] = '\0';
		return r == -ENOENT ? 0 : r;
	}
	return 0;
}

/* -- the sorts of files ------------------------------------------------------------------- */

static int fill(int fd, struct archive *a, uint64_t size, struct crcore_error *err)
{
	const char *p;
	size_t len;
	la_int64_t at;
	int got, r = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;

	while (r == 0 &&
	       (got = archive_read_data_block(a, (const void **)&p, &len, &at)) != ARCHIVE_EOF) {
		if (got != ARCHIVE_OK)
			return archive_failed(a, err);
		if (at < 0 || (uint64_t)at > size || len > size - (uint64_t)at)
			return crcore_fail(err, -EBADMSG, "the archive has more contents than the file");
		for (size_t done = 0; r == 0 && done < len;) {
			ssize_t n = pwrite(fd, p + done, len - done, (off_t)at + (off_t)done);
			if (n < 0)
				r = -errno;
			else
				done += (size_t)n;
		}
	}
	if (r == -ENOSPC || r == -EDQUOT)
		crcore_advise(err, "free some space there");
	return r < 0 ? crcore_fail(err, r, "cannot write its contents: %s", strerror(-r)) : 0;
}

/* A second name for what an earlier entry made, or found. */
static int make_link(const struct member *e, int dir, const char *name)
{
	const struct member *s = e->same;
	const char *other;
	struct stat st;
	char at[40];
	cleanup_close int parent = place_parent(e->t, s->path, &other);
	cleanup_close int fd = parent < 0 ? -1 : place_open(parent, other, O_PATH | O_NOFOLLOW, 0);

	if (parent < 0 || fd < 0)
		return parent < 0 ? parent : fd;
	if (fstat(fd, &st) < 0 || st.st_dev != s->dev || st.st_ino != s->ino)
		return -ESTALE; /* somebody has put another file there */
	place_link(fd, at);
	if (linkat(AT_FDCWD, at, dir, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	return -errno;
}

static int make_name(const struct member *e, int dir, const char *name)
{
	int r;

	if (e->same)
		return make_link(e, dir, name);
	if (S_ISLNK(e->st.st_mode))
		r = symlinkat(e->target, dir, name);
	else if (S_ISDIR(e->st.st_mode))
		r = mkdirat(dir, name, 0700);
	else if (S_ISREG(e->st.st_mode))
		r = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	else
		r = mknodat(dir, name, (e->st.st_mode & S_IFMT) | 0600, e->st.st_rdev);
	return r < 0 ? -errno : r;
}

/* Of what has just been made: a descriptor, if it is what it must be. */
static int open_made(struct member *e, int dir, const char *name)
{
	int fd = place_open(dir, name, O_PATH | O_NOFOLLOW, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != (e->st.st_mode & S_IFMT) ||
	    (e->same ? st.st_dev != e->same->dev || st.st_ino != e->same->ino :
	     st.st_uid != geteuid() || (!S_ISDIR(st.st_mode) && st.st_nlink != 1))) {
		close(fd);
		return -ESTALE;
	}
	e->dev = st.st_dev;
	e->ino = st.st_ino;
	e->made = true;
	return fd;
}

static int make(struct member *e, struct archive *a, struct archive_entry *ae,
                struct crcore_error *err)
{
	const char *name;
	struct stat st;
	cleanup_close int dir = place_parent(e->t, e->path, &name);
	int r = dir < 0 ? dir : 0;

	if (r == 0)
		r = e->replace ? put_aside(e, dir, name, err) : e->t->host->undo(e->t->ctx, take_back, e,
		                                                                 false, err);
	if (r == 0)
		r = e->same ? will_remove_inode(e->t->host, e->t->ctx, e->path, e->same->dev,
		                                e->same->ino, err) :
		    will_remove_new(e->t->host, e->t->ctx, e->path, err);
	if (r == 0)
		r = make_name(e, dir, name);
	if (r < 0)
		return r;
	cleanup_close int fd = S_ISREG(e->st.st_mode) && !e->same ? r : open_made(e, dir, name);
	if (fd < 0)
		return fd;
	if (!e->made) { /* opened when it was made: it can be no other */
		if (fstat(fd, &st) < 0)
			return -errno;
		e->dev = st.st_dev;
		e->ino = st.st_ino;
		e->made = true;
		r = fill(fd, a, (uint64_t)e->st.st_size, err);
		if (r < 0)
			return r;
	}
	if (e->same)
		return 0;
	if (!S_ISDIR(e->st.st_mode))
		return dress(fd, ae, e->st.st_mode & S_IFMT, err);
	e->dir = archive_entry_clone(ae);
	return e->dir ? 0 : -ENOMEM;
}

static int dress_dir(struct member *e, struct crcore_error *err)
{
	const char *name;
	struct stat st;
	cleanup_close int parent = place_parent(e->t, e->path, &name);
	cleanup_close int fd = parent < 0 ? -1 : place_open(parent, name, O_PATH | O_DIRECTORY, 0);

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != e->dev || st.st_ino != e->ino)
		return place_fail(e->path, -ESTALE, "cannot be completed", err);
	int r = dress(fd, e->dir, S_IFDIR, err);
	return r < 0 ? place_fail(e->path, r, "cannot be completed", err) : 0;
}

int tmpfiles_prepare(void *state, struct crcore_error *err)
{
	struct tmpfiles *t = state;
	__attribute__((cleanup(cleanup_archive_read_))) struct archive *a = NULL;
	struct archive_entry *ae;
	int r = t->nentries ? archive_start(t, &a, err) : 0;

	for (unsigned i = 0; r == 0 && i < t->nentries; i++) {
		struct member *e = t->entries[i];
		if (archive_read_next_header(a, &ae) != ARCHIVE_OK)
			return archive_failed(a, err);
		r = e->there ? 0 : make(e, a, ae, err);
		if (r < 0)
			return place_fail(e->path, r, "cannot be made", err);
	}
	for (unsigned i = t->nentries; r == 0 && i > 0; i--)
		if (t->entries[i - 1]->dir)
			r = dress_dir(t->entries[i - 1], err);
	return r;
}
