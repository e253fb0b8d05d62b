/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: files and directories without a name. One is made in the directory
 * where it was under a hidden name, gets its old name if that is free (so that links
 * in /proc read as before), and loses it at once; a memfd never has one.
 * The handle is O_PATH: a writable descriptor would keep others from running it.
 */
#include "files.h"

#include <sys/mman.h>
#include "plugins/wills.h"

#define CHUNK (256 * 1024)
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif

static int by_id(const void *a, const void *b)
{
	const Files__Ghost *x = (*(struct ghost *const *)a)->rec, *y = (*(struct ghost *const *)b)->rec;

	return (x->id > y->id) - (x->id < y->id);
}

struct ghost *ghost_find(const struct files *f, uint32_t id)
{
	Files__Ghost rec = { .id = id };
	struct ghost key = { .rec = &rec }, *k = &key, **hit;

	hit = f->nghosts ? bsearch(&k, f->ghosts, f->nghosts, sizeof(*f->ghosts), by_id) : NULL;
	return hit ? *hit : NULL;
}

void ghost_free(struct ghost *g)
{
	if (!g)
		return;
	if (g->rec)
		files__ghost__free_unpacked(g->rec, NULL);
	if (g->fd >= 0)
		close(g->fd);
	if (g->tmpfile_fd >= 0)
		close(g->tmpfile_fd);
	free(g->name);
	free(g->aside);
	free(g);
}

/* -- check -------------------------------------------------------------------- */

/* The nearest directory to the one it was in, not above the one that was there at the dump. */
static bool find_dir(const Files__Ghost *rec, char dir[PATH_MAX])
{
	size_t least = strlen(rec->dir);
	struct stat st;

	strcpy(dir, rec->path);
	do {
		files_parent(dir);
		if (strlen(dir) < least)
			return false;
		if (lstat(dir, &st) == 0 && S_ISDIR(st.st_mode))
			return true;
	} while (strcmp(dir, "/") != 0);
	return false;
}

static bool is_valid(const Files__Ghost *rec)
{
	uint64_t at = 0;

	if (!rec->id || rec->size > INT64_MAX || rec->atime_ns > 999999999 ||
	    rec->mtime_ns > 999999999 ||
	    (!S_ISREG(rec->mode) && (rec->embedded || !S_ISDIR(rec->mode))) ||
	    (rec->memfd && (rec->embedded || !S_ISREG(rec->mode))) ||
	    (rec->huge_shift &&
	     (!rec->memfd || rec->n_extents || rec->huge_shift < 13 || rec->huge_shift > 40)) ||
	    (S_ISDIR(rec->mode) && rec->n_extents) || (!rec->memfd && rec->path[0] != '/') ||
	    strlen(rec->path) >= PATH_MAX || strlen(rec->dir) >= PATH_MAX)
		return false;
	for (size_t i = 0; i < rec->n_extents; i++) {
		const Files__Extent *e = rec->extents[i];
		if (e->offset < at || e->offset > rec->size || e->length > rec->size - e->offset ||
		    e->blob > INT64_MAX - e->length)
			return false;
		at = e->offset + e->length;
	}
	return true;
}

static int check(struct files *f, const struct ghost *g, struct crcore_error *err)
{
	const Files__Ghost *rec = g->rec;
	char dir[PATH_MAX];
	struct stat st = { 0 };

	if (!is_valid(rec))
		return crcore_fail(err, -EBADMSG, "a record of section ghost makes no sense");
	if (rec->n_extents) {
		const Files__Extent *last = rec->extents[rec->n_extents - 1];
		int blob = f->host->blob(f->ctx, "ghost", err);
		if (blob < 0)
			return blob;
		if (fstat(blob, &st) < 0 || last->blob + last->length > (uint64_t)st.st_size)
			return crcore_fail(err, -EBADMSG, "the contents of %s are cut off", rec->path);
	}
	if (rec->memfd || rec->embedded || find_dir(rec, dir))
		return 0;
	crcore_fail_at(err, -1, -1, "%s", rec->path);
	crcore_advise(err, "create the directory %s", rec->dir);
	return crcore_fail(err, -ENOENT, "the file had no name any more, and the directory that it was "
	                   "in is gone");
}

int ghosts_check(struct files *f, struct crcore_error *err)
{
	int r = 0;

	if (f->nghosts)
		qsort(f->ghosts, f->nghosts, sizeof(*f->ghosts), by_id);
	for (unsigned i = 0; r == 0 && i < f->nghosts; i++) {
		if (i && by_id(&f->ghosts[i - 1], &f->ghosts[i]) == 0)
			return crcore_fail(err, -EBADMSG, "two records of section ghost are of one file");
		r = check(f, f->ghosts[i], err);
	}
	return r;
}

/* -- contents -------------------------------------------------------------------- */

static int fill_extent(const struct files *f, int out, int blob, const Files__Extent *e, char *buf)
{
	for (uint64_t done = 0; done < e->length;) {
		size_t want = e->length - done < CHUNK ? (size_t)(e->length - done) : CHUNK;
		ssize_t n = pread(blob, buf, want, (off_t)(e->blob + done));
		if (n <= 0)
			return n ? -errno : -EBADMSG;
		for (ssize_t at = 0; at < n;) {
			ssize_t w = pwrite(out, buf + at, (size_t)(n - at),
			                   (off_t)(e->offset + done + (uint64_t)at));
			if (w < 0)
				return -errno;
			at += w;
		}
		done += (uint64_t)n;
		if (CRCORE_HAS(f->host, alive))
			f->host->alive(f->ctx);
	}
	return 0;
}

int ghost_fill(struct files *f, int out, const Files__Ghost *rec, struct crcore_error *err)
{
	cleanup_free char *buf = rec->n_extents ? malloc(CHUNK) : NULL;
	int blob = rec->n_extents ? f->host->blob(f->ctx, "ghost", err) : -1, r = 0;

	if (rec->n_extents && blob < 0)
		return blob;
	if (rec->n_extents && !buf)
		return crcore_no_memory(err);
	if (ftruncate(out, (off_t)rec->size) < 0)
		r = -errno;
	if (!r && rec->huge_shift)
		return f->host->load_contents(f->ctx, rec->id, out, err);
	for (size_t i = 0; !r && i < rec->n_extents; i++)
		r = fill_extent(f, out, blob, rec->extents[i], buf);
	return r < 0 ? crcore_fail(err, r, "cannot write its contents back: %s", strerror(-r)) : 0;
}

static int seal(int fd, const Files__Ghost *rec, struct crcore_error *err)
{
	if (rec->seals && fcntl(fd, F_ADD_SEALS, (int)rec->seals) < 0)
		return crcore_fail(err, -errno, "cannot seal it: %s", strerror(errno));
	return 0;
}

/* A seal against future writers keeps those that were there: when all is mapped. */
static bool is_sealed_late(const Files__Ghost *rec)
{
	return rec->seals & F_SEAL_FUTURE_WRITE;
}

/* Owner, mode, times, seals: through a descriptor, in the order in which they stick. */
int ghost_dress(int fd, const Files__Ghost *rec, struct crcore_error *err)
{
	const struct timespec times[2] = {
		{ .tv_sec = rec->atime_s, .tv_nsec = rec->atime_ns },
		{ .tv_sec = rec->mtime_s, .tv_nsec = rec->mtime_ns },
	};

	if (fchown(fd, rec->uid, rec->gid) < 0)
		return crcore_fail(err, -errno, "cannot give it its owner: %s", strerror(errno));
	if (fchmod(fd, rec->mode & 07777) < 0)
		return crcore_fail(err, -errno, "cannot give it its mode: %s", strerror(errno));
	if (xattrs_write(fd, rec, err) < 0) /* an access list changes the mode */
		return err->code;
	if (futimens(fd, times) < 0)
		return crcore_fail(err, -errno, "cannot give it its times: %s", strerror(errno));
	return rec->memfd && !is_sealed_late(rec) ? seal(fd, rec, err) : 0;
}

int files_settle(void *state, struct crcore_error *err)
{
	struct files *f = state;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < f->nghosts; i++) {
		const struct ghost *g = f->ghosts[i];
		if (g->fd < 0 || !g->rec->memfd || !is_sealed_late(g->rec))
			continue;
		cleanup_close int fd = files_reopen(g->fd, O_RDWR);
		r = fd < 0 ? crcore_fail(err, fd, "cannot open it again: %s", strerror(-fd)) :
		    seal(fd, g->rec, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "/memfd:%s", g->rec->path);
	}
	return r;
}

/* -- the file ---------------------------------------------------------------------- */

static void unname(void *arg)
{
	struct ghost *g = arg;

	if (g->named)
		S_ISDIR(g->rec->mode) ? rmdir(g->name) : unlink(g->name);
	g->named = false;
}

static int make_memfd(const Files__Ghost *rec)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (rec->huge_shift)
		flags |= MFD_HUGETLB | rec->huge_shift << 26 /* MFD_HUGE_SHIFT */;
	int fd = memfd_create(rec->path, flags | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before MFD_EXEC */
		fd = memfd_create(rec->path, flags);
	return fd < 0 ? -errno : fd;
}

/* Makes it under g->name; returns a descriptor, -EEXIST if the name is taken. */
static int make_named(struct ghost *g)
{
	int fd = -1;

	if (S_ISDIR(g->rec->mode)) {
		if (mkdir(g->name, 0700) < 0)
			return -errno;
		g->named = true;
		fd = open(g->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	} else {
		fd = open(g->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		g->named = fd >= 0;
	}
	return fd < 0 ? -errno : fd;
}

/* The name that it had, if that is free. */
static int give_name(struct files *f, struct ghost *g, int fd, const char *name,
                     struct crcore_error *err)
{
	cleanup_free char *copy = strdup(name), *before = NULL;
	struct stat st;

	if (!copy)
		return crcore_no_memory(err);
	if (fstat(fd, &st) < 0)
		return crcore_fail(err, -errno, "cannot look at it: %s", strerror(errno));
	int r = will_remove_inode(f->host, f->ctx, name, st.st_dev, st.st_ino, err);
	if (r == 0 && renameat2(AT_FDCWD, g->name, AT_FDCWD, name, RENAME_NOREPLACE) == 0) {
		before = g->name;
		g->name = copy;
		copy = NULL;
	}
	return r;
}

static int make_in_dir(struct files *f, struct ghost *g, struct crcore_error *err)
{
	char dir[PATH_MAX], *slash = strrchr(g->rec->path, '/');
	bool there = find_dir(g->rec, dir);
	const char *sep = strcmp(dir, "/") ? "/" : "";
	int fd = -1, r;

	if (!there)
		return crcore_fail(err, -ENOENT, "the directory that it was in is gone");
	if (g->tmpfile) {
		int flags = (int)g->tmpfile_flags & ~(O_APPEND | O_DIRECT | O_NONBLOCK);
		fd = open(dir, flags | O_TMPFILE | O_CLOEXEC, 0600);
		if (fd >= 0) {
			g->tmpfile_fd = fd;
			return files_reopen(fd, O_RDWR);
		}
	}
	if (asprintf(&g->name, "%s%s.crcore-ghost-%u-%d", dir, sep, g->rec->id, (int)getpid()) < 0) {
		g->name = NULL;
		return crcore_no_memory(err);
	}
	if ((r = f->host->undo(f->ctx, unname, g, false, err)) < 0 ||
	    (r = will_remove(f->host, f->ctx, g->name, err)) < 0)
		return r;
	fd = make_named(g);
	if (fd < 0)
		return crcore_fail(err, fd, "cannot make a nameless file in %s: %s", dir, strerror(-fd));
	char name[PATH_MAX];
	if (snprintf(name, sizeof(name), "%s%s%s", dir, sep, slash + 1) < (int)sizeof(name) &&
	    (r = give_name(f, g, fd, name, err)) < 0)
		close(fd);
	unname(g);
	return r < 0 ? r : fd;
}

static int make(struct files *f, struct ghost *g, struct crcore_error *err)
{
	cleanup_close int fd = -1;
	int r;

	if (g->rec->memfd) {
		fd = make_memfd(g->rec);
		if (fd < 0 && g->rec->huge_shift)
			crcore_advise(err, "it has huge pages of %llu KiB: see /sys/kernel/mm/hugepages",
			              1ULL << (g->rec->huge_shift - 10));
		if (fd < 0)
			return crcore_fail(err, fd, "cannot make a memfd: %s", strerror(-fd));
	} else {
		fd = make_in_dir(f, g, err);
		if (fd < 0)
			return fd;
	}
	r = S_ISREG(g->rec->mode) ? ghost_fill(f, fd, g->rec, err) : 0;
	if (!r)
		r = ghost_dress(fd, g->rec, err);
	if (r < 0)
		return r;
	g->fd = files_reopen(fd, O_PATH);
	return g->fd < 0 ? crcore_fail(err, g->fd, "cannot open it again: %s", strerror(-g->fd)) : 0;
}

static int open_again(struct ghost *g, uint32_t flags, struct crcore_error *err)
{
	int fd, r;

	if (flags & TMPFILE_BIT && g->tmpfile_fd >= 0) {
		fd = g->tmpfile_fd;
		g->tmpfile_fd = -1;
		if (fcntl(fd, F_SETFL, (int)flags & (O_APPEND | O_DIRECT | O_NONBLOCK | O_NOATIME)) == 0)
			return fd;
		r = -errno;
		close(fd);
		return crcore_fail(err, r, "cannot set its flags: %s", strerror(-r));
	}
	if (flags & TMPFILE_BIT)
		flags &= ~(uint32_t)O_TMPFILE;
	fd = files_reopen(g->fd, (int)flags & ~O_NOFOLLOW);
	return fd < 0 ? crcore_fail(err, fd, "cannot open it again: %s", strerror(-fd)) : fd;
}

/* A tree may have more of them than crcore may have descriptors. */
int ghost_open(struct files *f, struct ghost *g, uint32_t flags, struct crcore_error *err)
{
	int r = g->fd < 0 ? make(f, g, err) : 0;

	if (r == 0)
		r = open_again(g, flags, err);
	if (r >= 0 && g->users && --g->users == 0 && !(g->rec->memfd && is_sealed_late(g->rec))) {
		close(g->fd);
		g->fd = -1;
	}
	return r;
}
