/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: files and folders into the archive. Of each path the directories above
 * it are stored too (not what else is in them), so that the restore can make
 * them again. The same walk without an archive is the look before the freeze.
 */
#include "tmpfiles.h"

#include <linux/openat2.h>
#include <search.h>
#include <sys/xattr.h>

#define DEPTH_MAX 200 /* directories; each has two descriptors open */

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* 1: the first time that this path is seen. */
static int first_time(struct taking *k, const char *path)
{
	char *copy = strdup(path);
	void *node = copy ? tsearch(copy, &k->taken, by_text) : NULL;

	if (!node || *(char **)node != copy) {
		free(copy);
		return node ? 0 : crcore_no_memory(k->err);
	}
	return 1;
}

/* *ret: the path by which the archive has the file already, NULL: this is the first. */
static int find_link(struct taking *k, const struct stat *st, const char *path, const char **ret)
{
	struct inode *n = calloc(1, sizeof(*n) + strlen(path) + 1);
	void *node;

	*ret = NULL;
	if (n) {
		n->dev = st->st_dev;
		n->ino = st->st_ino;
		strcpy(n->path, path);
	}
	node = n ? tsearch(n, &k->links, inode_compare) : NULL;
	if (node && *(struct inode **)node == n)
		return 0;
	free(n);
	if (!node)
		return crcore_no_memory(k->err);
	*ret = (*(struct inode **)node)->path;
	return 0;
}

static int add_attributes(struct taking *k, struct archive_entry *e, int fd, const char *path)
{
	cleanup_free char *names = NULL, *value = malloc(XATTR_SIZE_MAX);
	char at[40];

	place_link(fd, at);
	ssize_t len = listxattr(at, NULL, 0);
	if (len == 0 || (len < 0 && errno == EOPNOTSUPP))
		return 0;
	names = malloc(len > 0 ? (size_t)len : 1);
	if (!value || !names)
		return crcore_no_memory(k->err);
	len = len < 0 ? len : listxattr(at, names, (size_t)len);
	if (len < 0)
		return place_fail(path, -errno, "cannot list its extended attributes", k->err);
	for (char *n = names; n < names + len; n += strlen(n) + 1) {
		ssize_t got = getxattr(at, n, value, XATTR_SIZE_MAX);
		if (got < 0)
			return place_fail(path, -errno, "cannot read an extended attribute", k->err);
		archive_entry_xattr_add_entry(e, n, value, (size_t)got);
	}
	return 0;
}

static int fill_entry(struct taking *k, struct archive_entry *e, int fd, const char *path,
                      const struct stat *st)
{
	const char *link = NULL;
	char target[PATH_MAX];
	int r = S_ISDIR(st->st_mode) || st->st_nlink < 2 ? 0 : find_link(k, st, path, &link);

	archive_entry_copy_stat(e, st);
	archive_entry_copy_pathname(e, path);
	if (!S_ISREG(st->st_mode))
		archive_entry_set_size(e, 0);
	if (r == 0 && S_ISLNK(st->st_mode)) {
		ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);
		if (n < 0)
			return place_fail(path, -errno, "cannot read the symbolic link", k->err);
		target[n] = '\0';
		archive_entry_copy_symlink(e, target);
	}
	if (r == 0 && link) {
		archive_entry_copy_hardlink(e, link);
		archive_entry_set_size(e, 0);
		return 0;
	}
	return r < 0 ? r : add_attributes(k, e, fd, path);
}

static int put_header(struct taking *k, struct archive_entry *e, const char *path)
{
	k->entries++;
	if (!k->a || archive_write_header(k->a, e) == ARCHIVE_OK)
		return 0;
	crcore_fail_at(k->err, -1, -1, "%s", path);
	return archive_failed(k->a, k->err);
}

static int count_bytes(struct taking *k, const char *path, uint64_t bytes)
{
	k->bytes += bytes;
	if (k->bytes <= k->t->limit)
		return 0;
	crcore_fail_at(k->err, -1, -1, "%s", path);
	crcore_advise(k->err, "raise limit for tmpfiles in the policy, or include less");
	return crcore_fail(k->err, -EFBIG, "with it the files to include have %llu bytes, more than "
	                   "the limit of %llu", (unsigned long long)k->bytes,
	                   (unsigned long long)k->t->limit);
}

/* Header and contents of a regular file. */
static int put_file(struct taking *k, struct archive_entry *e, int fd, const char *path,
                    const struct stat *st)
{
	struct extents x = { 0 };
	struct stat now;
	char at[40];

	place_link(fd, at);
	cleanup_close int in = open(at, O_RDONLY | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
	if (in < 0 && errno == EPERM)
		in = open(at, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (in < 0)
		return place_fail(path, -errno, "cannot open it", k->err);
	int r = extents_find(in, (uint64_t)st->st_size, &x);
	cleanup_free struct extent *v = x.v; /* also after a failure */
	if (r < 0)
		return place_fail(path, r, "cannot find its holes", k->err);
	if ((r = count_bytes(k, path, x.bytes)) < 0)
		return r;
	for (unsigned i = 0; i < x.n; i++)
		archive_entry_sparse_add_entry(e, (int64_t)x.v[i].offset, (int64_t)x.v[i].length);
	if (!v && st->st_size) /* nothing but a hole */
		archive_entry_sparse_add_entry(e, st->st_size, 0);
	r = put_header(k, e, path);
	if (r < 0 || !k->a)
		return r;
	r = extents_write(k->a, in, (uint64_t)st->st_size, &x);
	if (r == 0 && (fstat(in, &now) < 0 || now.st_size != st->st_size ||
	               now.st_mtim.tv_sec != st->st_mtim.tv_sec ||
	               now.st_mtim.tv_nsec != st->st_mtim.tv_nsec))
		r = -EAGAIN;
	if (r == -EAGAIN) {
		crcore_fail_at(k->err, -1, -1, "%s", path);
		crcore_advise(k->err, "a process outside the tree writes to it; leave it out or stop that");
		return crcore_fail(k->err, r, "changed while it was saved");
	}
	return r < 0 ? place_fail(path, r, "cannot save its contents", k->err) : 0;
}

static int put(struct taking *k, int fd, const char *path, const struct stat *st)
{
	int r = first_time(k, path);

	if (r <= 0)
		return r;
	__attribute__((cleanup(cleanup_entry_))) struct archive_entry *e = archive_entry_new();
	if (!e)
		return crcore_no_memory(k->err);
	r = fill_entry(k, e, fd, path, st);
	if (r < 0)
		return r;
	if (S_ISREG(st->st_mode) && !archive_entry_hardlink(e))
		return put_file(k, e, fd, path, st);
	return put_header(k, e, path);
}

static int take(struct taking *k, int parent, const char *name, const char *path, unsigned depth);

static int take_all_in(struct taking *k, int fd, const char *path, unsigned depth)
{
	char **names = NULL;
	cleanup_close int dir = place_open(fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
	int r = dir < 0 ? dir : place_list(dir, &names);

	if (r < 0)
		return place_fail(path, r, "cannot list it", k->err);
	for (char **name = names; *name && r == 0; name++) {
		cleanup_free char *below = NULL;

		if (asprintf(&below, "%s/%s", path, *name) < 0)
			r = crcore_no_memory(k->err);
		else
			r = take(k, dir, *name, below, depth + 1);
	}
	names_free(names);
	return r;
}

static bool leave_out(struct taking *k, const struct stat *st, const char *path)
{
	const struct inode key = { .dev = st->st_dev, .ino = st->st_ino };
	const char *why = NULL;

	if (S_ISSOCK(st->st_mode))
		why = "a socket";
	else if (st->st_ino == k->image.st_ino && st->st_dev == k->image.st_dev)
		why = "the image";
	else if (!S_ISDIR(st->st_mode) && tfind(&key, &k->held, inode_compare))
		why = "open, so not for this plugin";
	if (why)
		k->t->host->log(k->t->ctx, 2, "%s is not taken: it is %s", path, why);
	return why;
}

static int take(struct taking *k, int parent, const char *name, const char *path, unsigned depth)
{
	cleanup_close int fd = place_open(parent, name, O_PATH | O_NOFOLLOW,
	                                  depth ? RESOLVE_NO_XDEV : 0);
	struct stat st;

	if (fd == -EXDEV)
		k->t->host->log(k->t->ctx, 1, "%s is not taken: something else is mounted there", path);
	if (fd == -EXDEV || (fd == -ENOENT && depth))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return place_fail(path, fd < 0 ? fd : -errno, "cannot open it", k->err);
	if (depth > DEPTH_MAX || strlen(path) >= PATH_MAX)
		return place_fail(path, -ENAMETOOLONG, "cannot include it", k->err);
	if (leave_out(k, &st, path))
		return 0;
	int r = put(k, fd, path, &st);
	return r < 0 || !S_ISDIR(st.st_mode) ? r : take_all_in(k, fd, path, depth);
}

/* The directories above it, then itself and all below. */
int take_path(struct taking *k, const char *path)
{
	char above[PATH_MAX];
	struct stat st;

	if (strlen(path) >= sizeof(above))
		return place_fail(path, -ENAMETOOLONG, "cannot include it", k->err);
	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		snprintf(above, sizeof(above), "%.*s", (int)(p - path), path);
		cleanup_close int fd = place_open(k->t->root, above + 1, O_PATH | O_DIRECTORY, 0);
		if (fd < 0 || fstat(fd, &st) < 0)
			return place_fail(path, fd < 0 ? fd : -errno, "cannot open it", k->err);
		int r = put(k, fd, above, &st);
		if (r < 0)
			return r;
	}
	const char *name;
	cleanup_close int parent = place_parent(k->t, path, &name);
	if (parent < 0)
		return place_fail(path, parent, "cannot open it", k->err);
	return take(k, parent, name, path, 0);
}
