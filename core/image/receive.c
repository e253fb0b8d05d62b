/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of send.c: makes the folder of the image that comes in. Nothing of it
 * is believed here but the names and lengths of files, which are checked; what is in
 * them is checked when the image is opened. The folder counts as unfinished until the
 * stream is at its end, and a stream that is cut or no archive leaves nothing.
 *
 * An archive that tar(1) made of an image's folder is as good: names may begin with ./,
 * and the manifest may be anywhere.
 */
#include <fcntl.h>
#include <poll.h>
#include "core/image/image_priv.h"
#include "core/image/tar.h"

#define LOOK_EVERY 100       /* ms: whether to stop */
#define TAIL_MAX (1u << 20)  /* what may follow the end */

struct receiver {
	int fd;
	int (*stop)(struct crcore_error *);
	struct image *img;
	unsigned char *buf;      /* of IMAGE_BLOCK */
	bool manifest;           /* has come */
};

static int bad_stream(const char *why, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "stream");
	crcore_advise(err, "see why it ended or was changed on its way, and send the image again");
	return crcore_fail(err, -EBADMSG, "%s", why);
}

/* Up to len bytes, as they come: how many, 0: the end. */
static ssize_t in(struct receiver *v, void *buf, size_t len, struct crcore_error *err)
{
	struct pollfd p = { v->fd, POLLIN, 0 };

	for (;;) {
		int r = v->stop ? v->stop(err) : 0;
		if (r < 0)
			return r;
		if (poll(&p, 1, LOOK_EVERY) <= 0)
			continue;
		ssize_t n = read(v->fd, buf, len);
		if (n >= 0)
			return n;
		if (errno != EINTR && errno != EAGAIN) {
			crcore_fail_at(err, -1, -1, "stream");
			return crcore_fail(err, -errno, "cannot read: %s", strerror(errno));
		}
	}
}

static int in_all(struct receiver *v, unsigned char *buf, size_t len, struct crcore_error *err)
{
	while (len) {
		ssize_t n = in(v, buf, len, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return bad_stream("it is cut: it ends before the image does", err);
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int take_bytes(struct receiver *v, int fd, const char *name, uint64_t len,
                      struct crcore_error *err)
{
	uint64_t pad = (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK;
	int r = 0;

	for (uint64_t left = len; r == 0 && left;) {
		size_t n = left < IMAGE_BLOCK ? left : IMAGE_BLOCK;
		r = in_all(v, v->buf, n, err);
		if (r == 0 && (r = write_all(fd, v->buf, n)) < 0)
			image_write_failed(v->img, name, r, err);
		left -= n;
	}
	return r < 0 ? r : in_all(v, v->buf, pad, err);
}

static int take_file(struct receiver *v, const char *name, uint64_t len, struct crcore_error *err)
{
	struct image *img = v->img;

	if (!strcmp(name, MANIFEST)) {
		if (v->manifest || len > IMAGE_MANIFEST_MAX)
			return bad_stream("it has a manifest that cannot be one", err);
		v->manifest = true;
		return take_bytes(v, img->marker, name, len, err);
	}
	if (!image_plain_name(name))
		return bad_stream("it holds a file that cannot be an image's", err);
	if (img->nfiles >= IMAGE_FILES_MAX || image_file_find(img, name))
		return bad_stream("it holds a file twice, or too many", err);
	struct image_file *f = image_file_add(img, name, FILE_BULK, err);
	int r = f ? image_file_create(img, f, err) : -ENOMEM;
	if (r == 0)
		r = take_bytes(v, f->fd, name, len, err);
	if (f && f->fd >= 0)
		close(STEAL_FD(f->fd)); /* there may be more than can be open */
	return r;
}

/* 1: there is more, 0: that was the end. */
static int take_entry(struct receiver *v, struct crcore_error *err)
{
	unsigned char block[TAR_BLOCK];
	struct tar_entry e;
	int r = in_all(v, block, sizeof(block), err);

	if (r < 0)
		return r;
	int kind = tar_get(block, &e);
	if (kind <= 0)
		return kind < 0 ? bad_stream("it is not the stream of an image, or damaged", err) : 0;
	const char *name = !strncmp(e.name, "./", 2) ? e.name + 2 : e.name;
	if (e.folder && !*name && !e.size)
		return 1;
	if (e.folder)
		return bad_stream("it holds a folder, which an image has not", err);
	r = take_file(v, name, e.size, err);
	return r < 0 ? r : 1;
}

/* What an archive ends with, one more block of zeroes at least; read, so that its writer can
 * write all of it. */
static int take_tail(struct receiver *v, struct crcore_error *err)
{
	size_t total = 0;
	ssize_t n;

	while ((n = in(v, v->buf, IMAGE_BLOCK, err)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (v->buf[i])
				return bad_stream("something else follows its end", err);
		total += (size_t)n;
		if (total > TAIL_MAX)
			return bad_stream("it does not end", err);
	}
	return n == 0 && total < TAR_BLOCK ? bad_stream("it is cut: its end is missing", err) : (int)n;
}

int image_receive(int fd, const char *dir, int (*stop)(struct crcore_error *), bool *ret_made,
                  struct crcore_error *err)
{
	struct receiver v = { .fd = fd, .stop = stop, .buf = malloc(IMAGE_BLOCK) };
	int r = v.buf ? image_create(dir, false, &v.img, err) :
	                crcore_no_memory(err);

	if (r == 0)
		*ret_made = v.img->parent >= 0;
	while (r == 0 && (r = take_entry(&v, err)) > 0)
		r = 0;
	if (r == 0)
		r = take_tail(&v, err);
	if (r == 0 && !v.manifest)
		r = bad_stream("it ends without a manifest", err);
	if (r == 0 && renameat(v.img->dir, MANIFEST_TMP, v.img->dir, MANIFEST) < 0)
		r = image_cannot(v.img, MANIFEST, -errno, "rename manifest.tmp", err);
	if (r == 0)
		v.img->sealed = true;
	image_close(v.img);
	free(v.buf);
	return r;
}
