/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder of an image. Whoever works in it holds a lock on it (flock on the
 * folder itself: exclusive to write, shared to read), and goes through its
 * descriptor, so nothing that is renamed or linked meanwhile leads elsewhere.
 *
 * A folder under construction has a manifest.tmp from its first moment. One
 * that is found later, without a manifest and without a lock, is what a killed
 * command left: its files are known to be ours and are removed. Files of the
 * same names without a manifest.tmp are somebody's, and are refused.
 */
#include <fcntl.h>
#include <sys/file.h>
#include "core/image/image_priv.h"

int image_fail(const struct image *img, const char *name, int code, const char *why,
               struct crcore_error *err)
{
	crcore_fail(err, code, "%s", why);
	crcore_fail_at(err, -1, -1, "image %s%s%s", img->path, name ? "/" : "", name ? name : "");
	return code;
}

int image_cannot(const struct image *img, const char *name, int code, const char *what,
                 struct crcore_error *err)
{
	crcore_fail(err, code, "cannot %s: %s", what, strerror(-code));
	return image_fail(img, name, code, "", err);
}

int image_write_failed(const struct image *img, const char *name, int code,
                       struct crcore_error *err)
{
	if (code == -ENOSPC || code == -EDQUOT)
		crcore_advise(err, "free some space there or use another -D");
	else if (code == -EFBIG)
		crcore_advise(err, "raise the limit of file sizes (ulimit -f) or use another -D");
	return image_cannot(img, name, code, "write", err);
}

bool image_plain_name(const char *name)
{
	size_t n = strlen(name);

	if (n < 5 || n >= IMAGE_NAME_MAX || name[0] == '.')
		return false;
	for (const char *p = name; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
			return false;
	return !strcmp(name + n - 4, ".img") || !strcmp(name + n - 4, ".bin");
}

int image_section_name(const char *prefix, const char *section, char ret[IMAGE_NAME_MAX],
                       struct crcore_error *err)
{
	int n = snprintf(ret, IMAGE_NAME_MAX, "%s.%s.img", prefix, section);

	if (n < 0 || n >= (int)IMAGE_NAME_MAX || !image_plain_name(ret))
		return crcore_fail(err, -EINVAL, "'%.60s.%.60s' is no name for a section", prefix,
		                   section);
	return 0;
}

/* The folder cannot be used, and what to do; a limit of our own has nothing to do with it. */
__attribute__((format(printf, 5, 6)))
static int unusable(const char *path, int code, const char *what, struct crcore_error *err,
                    const char *fmt, ...)
{
	char advice[sizeof(err->advice)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(advice, sizeof(advice), fmt, ap);
	va_end(ap);
	crcore_fail(err, code, "cannot %s: %s", what, strerror(-code));
	crcore_fail_at(err, -1, -1, "image %s", path);
	if (code != -EMFILE && code != -ENFILE)
		crcore_advise(err, "%s", advice);
	return code;
}

/* Splits "a/b/c/" into an open "a/b" and "c". */
static int open_parent(const char *dir, int *ret_parent, char **ret_base, struct crcore_error *err)
{
	cleanup_free char *copy = strdup(dir);
	size_t n = strlen(dir);

	if (!copy)
		return crcore_no_memory(err);
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = 0;
	char *slash = strrchr(copy, '/');
	const char *base = slash ? slash + 1 : copy;
	cleanup_free char *name = strdup(*base ? base : ".");
	if (!name)
		return crcore_no_memory(err);
	if (slash)
		slash[slash == copy] = 0;
	int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return unusable(dir, -errno, "open the folder that it would be in", err,
		                "create %s first, or use another -D", slash ? copy : ".");
	*ret_parent = fd;
	*ret_base = STEAL(name);
	return 0;
}

static int refuse_complete(struct image *img, struct crcore_error *err)
{
	crcore_advise(err, "use an empty folder or remove it");
	return image_fail(img, NULL, -EEXIST, "there is a complete image in this folder already", err);
}

/* flock, where the file system has it. 1: it has none. */
static int take_lock(struct image *img, int how, struct crcore_error *err)
{
	if (flock(img->dir, how | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return 1;
	if (how == LOCK_EX && faccessat(img->dir, MANIFEST, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return refuse_complete(img, err); /* and somebody reads it: us, perhaps */
	image_fail(img, NULL, -EBUSY, "another crcore command works in this folder", err);
	crcore_advise(err, "wait for it to end, or use another folder");
	return -EBUSY;
}

struct contents {
	bool complete;          /* has a manifest */
	bool marked;            /* has a manifest.tmp */
	unsigned files;         /* with names as in an image */
	char other[256];        /* anything else */
};

/* Looks at every name; remove: unlinks what has a name as in an image. */
static int look(struct image *img, bool remove, struct contents *ret, struct crcore_error *err)
{
	int fd = openat(img->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		int r = -errno;
		if (fd >= 0)
			close(fd);
		return image_cannot(img, NULL, r, "list the folder", err);
	}
	memset(ret, 0, sizeof(*ret));
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!strcmp(e->d_name, MANIFEST))
			ret->complete = true;
		else if (!strcmp(e->d_name, MANIFEST_TMP))
			ret->marked = true;
		else if (!image_plain_name(e->d_name))
			snprintf(ret->other, sizeof(ret->other), "%s", e->d_name);
		else if (!remove || !unlinkat(img->dir, e->d_name, 0))
			ret->files++;
		else
			return image_cannot(img, e->d_name, -errno,
			                    "remove what an unfinished dump left", err);
	}
	return 0;
}

/* Makes sure that the folder is empty, or empties it of what a killed dump left. */
static int check_contents(struct image *img, bool locked, struct crcore_error *err)
{
	struct contents c;
	int r = look(img, false, &c, err);

	if (r < 0)
		return r;
	if (c.complete)
		return refuse_complete(img, err);
	if (c.other[0] || (c.files && !c.marked)) {
		image_fail(img, c.other[0] ? c.other : NULL, -ENOTEMPTY,
		           "the folder for the image holds files that are not crcore's", err);
		crcore_advise(err, "use an empty folder or remove it");
		return -ENOTEMPTY;
	}
	if (!c.marked)
		return 0;
	if (!locked) { /* no locks here: it may be somebody's work in progress */
		image_fail(img, NULL, -EBUSY, "an unfinished image is in this folder", err);
		crcore_advise(err, "use an empty folder or remove it");
		return -EBUSY;
	}
	r = look(img, true, &c, err);
	if (r < 0)
		return r;
	if (unlinkat(img->dir, MANIFEST_TMP, 0) < 0)
		return image_cannot(img, MANIFEST_TMP, -errno,
		                    "remove what an unfinished dump left", err);
	return 0;
}

/* Private from now on; remembers how it was. */
static int tighten(struct image *img, struct crcore_error *err)
{
	struct stat st;

	if (fstat(img->dir, &st) < 0)
		return image_cannot(img, NULL, -errno, "look at the folder", err);
	if (st.st_uid != geteuid() || (st.st_mode & 07777) == 0700)
		return 0;
	if (fchmod(img->dir, 0700) < 0)
		return image_cannot(img, NULL, -errno, "make the folder private", err);
	if (img->parent < 0)
		img->old_mode = st.st_mode & 07777;
	return 0;
}

static int mark(struct image *img, struct crcore_error *err)
{
	int fd = openat(img->dir, MANIFEST_TMP,
	                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return unusable(img->path, -errno, "create files", err,
		                "use another -D, where files can be made");
	img->marker = fd;
	return 0;
}

int folder_make(struct image *img, const char *dir, struct crcore_error *err)
{
	cleanup_close int parent = -1;
	int r = open_parent(dir, &parent, &img->base, err);
	bool made;

	if (r < 0)
		return r;
	made = mkdirat(parent, img->base, 0700) == 0;
	if (!made && errno != EEXIST)
		goto fail;
	img->dir = openat(parent, img->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (made)
		img->parent = STEAL_FD(parent);
	if (img->dir < 0)
		goto fail;
	int locked = take_lock(img, LOCK_EX, err);
	r = locked < 0 ? locked : made ? 0 : check_contents(img, locked == 0, err);
	if (r == 0)
		r = tighten(img, err);
	return r < 0 ? r : mark(img, err);
fail:
	return unusable(img->path, -errno, "make or open the folder", err,
	                "use another -D, where a folder is or can be made");
}

/* Takes back what folder_make() and the writer did. */
void folder_unmake(struct image *img)
{
	for (unsigned i = 0; i < img->nfiles; i++)
		if (img->files[i]->made)
			unlinkat(img->dir, img->files[i]->name, 0);
	if (img->marker >= 0)
		unlinkat(img->dir, MANIFEST_TMP, 0);
	if (img->parent >= 0)
		unlinkat(img->parent, img->base, AT_REMOVEDIR);
	else if (img->old_mode)
		(void)!fchmod(img->dir, img->old_mode);
}

int folder_open(struct image *img, const char *dir, struct crcore_error *err)
{
	img->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (img->dir < 0)
		return unusable(img->path, -errno, "open the folder", err,
		                "name the folder of an image with -D");
	int locked = take_lock(img, LOCK_SH, err);
	return locked < 0 ? locked : 0;
}

struct image_place {
	int dir, parent; /* parent -1: the folder stays */
	char *base;
};

int image_place_open(const char *dir, bool made, struct image_place **ret, struct crcore_error *err)
{
	struct image_place *p = calloc(1, sizeof(*p));

	if (!p)
		return crcore_no_memory(err);
	p->parent = -1;
	p->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = p->dir < 0 ? crcore_fail(err, -errno, "cannot open %s: %s", dir, strerror(errno)) : 0;
	if (r == 0 && made)
		r = open_parent(dir, &p->parent, &p->base, err);
	if (r < 0)
		image_place_close(p);
	else
		*ret = p;
	return r;
}

void image_place_remove(struct image_place *p)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct contents c;

	if (!p)
		return;
	struct image img = { .path = (char *)"", .dir = p->dir };
	unlinkat(p->dir, MANIFEST, 0);
	look(&img, true, &c, &ignored);
	if (p->parent >= 0)
		unlinkat(p->parent, p->base, AT_REMOVEDIR);
}

void image_place_close(struct image_place *p)
{
	if (!p)
		return;
	if (p->dir >= 0)
		close(p->dir);
	if (p->parent >= 0)
		close(p->parent);
	free(p->base);
	free(p);
}
