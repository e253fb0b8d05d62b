/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ancestors of an image: the one that it was made on, that one's, and so on.
 * Of each only the manifest, the page files and the records of memory are opened. A parent is
 * known by the checksum of its manifest, which covers that of its own parent and those of all
 * files: whoever has the youngest knows what all of them were.
 *
 * A folder that holds a complete image is not written to again, so it needs no lock.
 */
#include <fcntl.h>
#include "core/image/image_priv.h"

#define CHAIN_MAX 1000 /* ancestors; each takes a descriptor */

static int bad_parent(const struct image *child, int code, const char *why,
                      struct crcore_error *err)
{
	const char *path = child->manifest->parent->path;

	crcore_fail(err, code, "%s", why);
	crcore_fail_at(err, -1, -1, "image %s, made on %s", child->path, path);
	crcore_advise(err, "put back the folder that it was made on, unchanged: %s%s", path,
	              path[0] == '/' ? "" : ", as seen from the image");
	return code;
}

/* For messages: where that is, as seen from here. */
static char *join_path(const struct image *child, const char *path)
{
	char *ret = NULL;

	if (path[0] == '/')
		return strdup(path);
	return asprintf(&ret, "%s/%s", child->path, path) < 0 ? NULL : ret;
}

static bool same_folder(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

uint64_t image_pages_before(const Crcore__Manifest *m)
{
	return m->parent ? m->parent->pages : 0;
}

static int open_files(struct image *img, struct crcore_error *err)
{
	cleanup_free struct image_file **v = pages_files(img);
	struct image_file *mms = image_file_find(img, MM_FILE);
	int r = v ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; r == 0 && i < img->page_files; i++) {
		r = image_file_open(img, v[i], err);
		if (r == 0)
			r = packed_ready(img, v[i], err);
	}
	return r < 0 || !mms || mms->contained ? r : image_file_open(img, mms, err);
}

/* Is it what the child was made on? */
static int check_parent(struct image *child, struct image *parent, struct crcore_error *err)
{
	const Crcore__Parent *want = child->manifest->parent;
	uint64_t pages = image_pages_before(parent->manifest) + pages_own(parent);

	if (parent->manifest->checksum != want->checksum)
		return bad_parent(child, -ESTALE, "the folder of its parent holds another image", err);
	if (pages != want->pages)
		return image_fail(child, MANIFEST, -EBADMSG, "counts the pages of its parent wrong", err);
	return open_files(parent, err);
}

static int open_parent(struct image *first, struct image *child, struct crcore_error *err)
{
	const char *path = child->manifest->parent->path;
	struct image *p = image_new(NULL);

	if (!p || !(p->path = join_path(child, path))) {
		image_close(p);
		return crcore_no_memory(err);
	}
	child->older = p;
	p->dir = openat(child->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0)
		return bad_parent(child, -errno, errno == ENOENT ? "its parent is missing" :
		                  "cannot open the folder of its parent", err);
	for (struct image *i = first; i != p; i = i->older)
		if (same_folder(i->dir, p->dir))
			return bad_parent(child, -ELOOP, "it is its own ancestor", err);
	int r = manifest_read(p, err);
	return r < 0 ? r : check_parent(child, p, err);
}

/* A restore of what would be made on it would be refused, when the tree is gone. */
int image_may_have_child(const struct image *img, struct crcore_error *err)
{
	unsigned n = 0;

	for (const struct image *i = img; i->manifest->parent && i->older; i = i->older)
		n++;
	if (n < CHAIN_MAX)
		return 0;
	crcore_fail_at(err, -1, -1, "image %s", img->path);
	crcore_advise(err, "merge it into one first (crcore merge -D DIR %s), or dump without "
	              "--prev-images-dir", img->path);
	return crcore_fail(err, -EMLINK, "it has %u ancestors, and may not be one itself", n);
}

struct image *image_older(const struct image *img)
{
	return img->older;
}

int chain_open(struct image *img, struct crcore_error *err)
{
	unsigned n = 0;
	int r = 0;

	if (img->older || !img->manifest->parent)
		return 0;
	for (struct image *i = img; r == 0 && i->manifest->parent; i = i->older)
		r = ++n > CHAIN_MAX ? bad_parent(i, -ELOOP, "it has too many ancestors", err) :
		                      open_parent(img, i, err);
	for (struct image *i = img->older; i; i = i->older)
		if (i->dir >= 0 && i->page_files <= PAGE_FILES)
			close(STEAL_FD(i->dir));
	if (r == -EBADMSG)
		crcore_advise(err, "take another copy of that image");
	if (r < 0)
		image_close(STEAL(img->older));
	return r;
}
