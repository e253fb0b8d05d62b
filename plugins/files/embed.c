/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that have a name but come from the image if they are not what they were
 * (option changed: embed), and files that grew and are cut (truncate). The one
 * that is there goes aside until the restore has succeeded; nothing is cut before.
 */
#include "files.h"
#include "plugins/wills.h"

static void take_back(void *arg)
{
	struct ghost *g = arg;

	if (g->placed)
		unlink(g->rec->path);
	else if (g->named)
		unlink(g->name);
	if (g->aside && rename(g->aside, g->rec->path) == 0) {
		free(g->aside);
		g->aside = NULL;
	}
	g->placed = g->named = false;
}

/* The restore has succeeded. */
static void forget_old(void *arg)
{
	struct ghost *g = arg;

	if (g->placed && g->aside)
		unlink(g->aside);
}

static int write_new(struct files *f, struct ghost *g, struct crcore_error *err)
{
	cleanup_close int fd = open(g->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make %s: %s", g->name, strerror(errno));
	g->named = true;
	int r = ghost_fill(f, fd, g->rec, err);
	return r < 0 ? r : ghost_dress(fd, g->rec, err);
}

int embed_place(struct files *f, struct ghost *g, struct crcore_error *err)
{
	cleanup_free char *aside = NULL;
	char dir[PATH_MAX];
	int r, pid = (int)getpid();
	struct stat st;

	if (g->placed)
		return 0;
	strcpy(dir, g->rec->path);
	files_parent(dir);
	const char *sep = strcmp(dir, "/") ? "/" : "";
	if (asprintf(&g->name, "%s%s.crcore-new-%u-%d", dir, sep, g->rec->id, pid) < 0) {
		g->name = NULL;
		return crcore_no_memory(err);
	}
	if (asprintf(&aside, "%s%s.crcore-old-%u-%d", dir, sep, g->rec->id, pid) < 0) {
		aside = NULL;
		return crcore_no_memory(err);
	}
	/* After a failure the second comes first, and leaves nothing to the other. */
	if ((r = f->host->undo(f->ctx, forget_old, g, true, err)) < 0 ||
	    (r = f->host->undo(f->ctx, take_back, g, false, err)) < 0 ||
	    (r = will_remove(f->host, f->ctx, g->name, err)) < 0 || (r = write_new(f, g, err)) < 0 ||
	    (r = will_put_back(f->host, f->ctx, aside, g->rec->path, err)) < 0)
		return r;
	if (lstat(g->name, &st) < 0)
		return crcore_fail(err, -errno, "cannot look at %s: %s", g->name, strerror(errno));
	if ((r = will_remove_inode(f->host, f->ctx, g->rec->path, st.st_dev, st.st_ino, err)) < 0)
		return r;
	if (rename(g->rec->path, aside) == 0) {
		g->aside = aside;
		aside = NULL;
	} else if (errno != ENOENT) {
		return crcore_fail(err, -errno, "cannot be moved aside: %s", strerror(errno));
	}
	if (rename(g->name, g->rec->path) < 0)
		return crcore_fail(err, -errno, "cannot be put in its place: %s", strerror(errno));
	g->placed = true;
	return 0;
}

void files_truncate(const struct files *f, const Files__File *rec)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = rec->mtime_s, .tv_nsec = rec->mtime_ns } };
	struct stat st;

	if (rec->kind != FILES__KIND__PATH || !S_ISREG(rec->mode) || rec->pseudo ||
	    rec->flags & O_PATH || rec->use || files_changed(f, rec->path) != CHANGED_TRUNCATE ||
	    files_inherited(f, rec) >= 0 || lstat(rec->path, &st) < 0 ||
	    (uint64_t)st.st_size <= rec->size || st.st_ino != rec->ino)
		return;
	if (truncate(rec->path, (off_t)rec->size) < 0 || utimensat(AT_FDCWD, rec->path, times, 0) < 0)
		f->host->log(f->ctx, 1, "%s: cannot be cut to its old size: %s", rec->path,
		             strerror(errno));
}
