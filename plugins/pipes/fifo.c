/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FIFOs. One that is opened for both ways never makes its opener wait, so the
 * coordinator holds such a descriptor until all ends are there. A reader that
 * was there before any writer does not see a hang-up; it is opened without
 * that descriptor, or it would.
 */
#include "pipes.h"
#include "plugins/wills.h"

#include <sys/ioctl.h>

#define DELETED " (deleted)"

/* -- dump ----------------------------------------------------------------------- */

int fifo_locate(const struct crcore_object *obj, char ret_path[PATH_MAX], bool *ret_unlinked,
                struct crcore_error *err)
{
	size_t len = strlen(obj->link);
	struct stat st;

	*ret_unlinked = false;
	if (obj->link[0] != '/' || len >= PATH_MAX) {
		crcore_advise(err, "run crcore in the mount namespace of the task");
		return crcore_fail(err, -ENOTSUP, "its path cannot be reached from crcore's root "
		                   "directory");
	}
	strcpy(ret_path, obj->link);
	if (lstat(ret_path, &st) == 0 && st.st_dev == obj->st.st_dev && st.st_ino == obj->st.st_ino)
		return 0;
	if (len > strlen(DELETED) && !strcmp(ret_path + len - strlen(DELETED), DELETED) &&
	    obj->st.st_nlink == 0) {
		ret_path[len - strlen(DELETED)] = '\0';
		*ret_unlinked = true;
		return 0;
	}
	crcore_advise(err, "put the FIFO back under its old name, or close it");
	return crcore_fail(err, -ENOTSUP, "its path does not lead to it any more");
}

/* -- restore ------------------------------------------------------------------- */

static void parent(const char *path, char ret[PATH_MAX])
{
	char *slash;

	snprintf(ret, PATH_MAX, "%s", path);
	slash = strrchr(ret, '/');
	slash[slash == ret] = '\0';
}

int fifo_check(const Pipes__Pipe *rec, struct crcore_error *err)
{
	char dir[PATH_MAX];
	struct stat st;

	if (rec->path[0] != '/' || strlen(rec->path) >= PATH_MAX)
		return crcore_fail(err, -EBADMSG, "a record of section pipe has no good path");
	if (rec->unlinked) {
		parent(rec->path, dir);
		if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
			return 0;
		crcore_fail_at(err, -1, -1, "%s", rec->path);
		crcore_advise(err, "create the directory %s", dir);
		return crcore_fail(err, -ENOENT, "the FIFO had no name any more, and its directory is "
		                   "gone");
	}
	if (lstat(rec->path, &st) == 0 && S_ISFIFO(st.st_mode))
		return 0;
	crcore_fail_at(err, -1, -1, "%s", rec->path);
	crcore_advise(err, "make it again with mkfifo");
	return crcore_fail(err, -ENOENT, "there was a FIFO at the dump and there is none now");
}

static void unname(void *arg)
{
	struct made *m = arg;

	if (m->named)
		unlink(m->name);
	m->named = false;
}

/* The name that it had, if that is free. */
static int give_name(struct pipes *p, struct made *m, struct crcore_error *err)
{
	cleanup_free char *copy = strdup(m->rec->path), *before = NULL;
	struct stat st;

	if (!copy)
		return crcore_no_memory(err);
	if (lstat(m->name, &st) < 0)
		return crcore_fail(err, -errno, "cannot look at it: %s", strerror(errno));
	int r = will_remove_inode(p->host, p->ctx, m->rec->path, st.st_dev, st.st_ino, err);
	if (r == 0 && renameat2(AT_FDCWD, m->name, AT_FDCWD, m->rec->path, RENAME_NOREPLACE) == 0) {
		before = m->name;
		m->name = copy;
		copy = NULL;
	}
	return r;
}

static int make_unlinked(struct pipes *p, struct made *m, struct crcore_error *err)
{
	char dir[PATH_MAX];
	int r;

	parent(m->rec->path, dir);
	if (asprintf(&m->name, "%s/.crcore-fifo-%u-%d", strcmp(dir, "/") ? dir : "", m->rec->number,
	             (int)getpid()) < 0) {
		m->name = NULL;
		return crcore_no_memory(err);
	}
	if ((r = p->host->undo(p->ctx, unname, m, false, err)) < 0 ||
	    (r = will_remove(p->host, p->ctx, m->name, err)) < 0)
		return r;
	if (mkfifo(m->name, 0600) < 0)
		return crcore_fail(err, -errno, "cannot make a FIFO in %s: %s", dir, strerror(errno));
	m->named = true;
	if ((r = give_name(p, m, err)) < 0)
		return r;
	m->hold = open(m->name, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	r = m->hold < 0 ? -errno : 0;
	unname(m);
	if (!r && (fchown(m->hold, m->rec->uid, m->rec->gid) < 0 ||
	           fchmod(m->hold, m->rec->mode & 07777) < 0))
		r = -errno;
	return r < 0 ? crcore_fail(err, r, "cannot set up a FIFO without a name: %s", strerror(-r)) : 0;
}

int fifo_make(struct pipes *p, struct made *m, struct crcore_error *err)
{
	struct stat st;
	int avail = 0;

	if (m->rec->unlinked)
		return make_unlinked(p, m, err);
	m->hold = open(m->rec->path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (m->hold < 0 || fstat(m->hold, &st) < 0 || !S_ISFIFO(st.st_mode))
		return crcore_fail(err, m->hold < 0 ? -errno : -ESTALE, "cannot open the FIFO: %s",
		                   m->hold < 0 ? strerror(errno) : "it is none");
	if (ioctl(m->hold, FIONREAD, &avail) < 0 || !avail)
		return 0;
	crcore_advise(err, "end the process that has it open (fuser %s)", m->rec->path);
	return crcore_fail(err, -EBUSY, "somebody else has the FIFO open, with %d bytes in it", avail);
}

int fifo_open(struct made *m, uint32_t flags, struct crcore_error *err)
{
	int how = (int)(flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC, fd;
	char proc[40];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", m->hold);
	fd = m->rec->unlinked ? open(proc, how) : open(m->rec->path, how);
	return fd < 0 ? crcore_fail(err, -errno, "cannot open the FIFO: %s", strerror(errno)) : fd;
}
