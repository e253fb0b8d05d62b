/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what is at the place of an entry now, and what the policy says to
 * that. A directory that exists is used as it is. A file that is as it was saved
 * is no conflict: there is nothing to do. That it is tells its change time, which
 * the kernel sets at every change of data, metadata or names, and nobody else can.
 */
#include "tmpfiles.h"

static bool is_untouched(const struct member *e, const struct stat *st)
{
	return (st->st_mode & S_IFMT) == (e->st.st_mode & S_IFMT) &&
	       st->st_ctim.tv_sec == e->st.st_ctim.tv_sec &&
	       st->st_ctim.tv_nsec == e->st.st_ctim.tv_nsec &&
	       st->st_mtim.tv_sec == e->st.st_mtim.tv_sec &&
	       st->st_mtim.tv_nsec == e->st.st_mtim.tv_nsec &&
	       (e->same || !S_ISREG(st->st_mode) || st->st_size == e->st.st_size);
}

static int in_the_way(const struct member *e, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "%s", e->path);
	crcore_advise(err, "remove it, or use remap");
	return crcore_fail(err, -EEXIST, "%s is in the way", what);
}

static int judge(const struct tmpfiles *t, struct member *e, const struct stat *st,
                 struct crcore_error *err)
{
	if (S_ISDIR(e->st.st_mode)) {
		e->there = true;
		return S_ISDIR(st->st_mode) ? 0 : in_the_way(e, "what is no directory", err);
	}
	if (S_ISDIR(st->st_mode))
		return in_the_way(e, "a directory", err);
	if (t->exists == EXISTS_KEEP || is_untouched(e, st)) {
		e->there = true;
		e->dev = st->st_dev;
		e->ino = st->st_ino;
		return 0;
	}
	e->replace = t->exists == EXISTS_REPLACE;
	if (e->replace)
		return 0;
	crcore_fail_at(err, -1, -1, "%s", e->path);
	crcore_advise(err, "remove it, or say exists: keep or exists: replace for tmpfiles in the "
	              "policy");
	return crcore_fail(err, -EEXIST, "the file exists, and is not the one that was saved");
}

/* The directory that it is in may be one that the archive brings. */
static int no_parent(const struct tmpfiles *t, const struct member *e, int code,
                     struct crcore_error *err)
{
	char dir[PATH_MAX];
	const struct member *parent;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(e->path, '/') - e->path), e->path);
	parent = entry_find(t, dir);
	if (code == -ENOENT && parent && S_ISDIR(parent->st.st_mode))
		return 0;
	if (code == -ENOENT)
		crcore_advise(err, "create the directory %s", dir);
	return place_fail(e->path, code, "cannot be made", err);
}

int exists_check(struct tmpfiles *t, struct member *e, struct crcore_error *err)
{
	struct stat st;
	const char *name;

	if (e->there)
		return 0;
	cleanup_close int parent = place_parent(t, e->path, &name);
	if (parent < 0)
		return no_parent(t, e, parent, err);
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return judge(t, e, &st, err);
	return errno == ENOENT ? 0 : place_fail(e->path, -errno, "cannot look at it", err);
}
