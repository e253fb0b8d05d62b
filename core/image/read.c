/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an image. Every byte may be wrong on purpose. Files of records are
 * read whole, once, and checksummed there: what is parsed later is what was
 * checked, whatever happens to the file meanwhile. Files that the manifest does
 * not name are not looked at.
 */
#include <fcntl.h>
#include "core/image/image_priv.h"

static int load_records(struct image *img, struct image_file *f, struct crcore_error *err)
{
	if (f->fd < 0) /* read already, or in the manifest */
		return 0;
	f->buf = malloc(f->length + 1);
	if (!f->buf)
		return crcore_no_memory(err);
	int r = pread_all(f->fd, f->buf, f->length, 0);
	if (r < 0)
		return image_cannot(img, f->name, r, "read the file", err);
	close(STEAL_FD(f->fd));
	f->used = f->length;
	if (checksum(f->buf, f->used) != f->hashed)
		return image_fail(img, f->name, -EBADMSG, "the checksum is wrong: damaged", err);
	return 0;
}

struct image *image_new(const char *dir)
{
	struct image *img = calloc(1, sizeof(*img));

	if (!img || (dir && !(img->path = strdup(dir)))) {
		free(img);
		return NULL;
	}
	img->dir = img->parent = img->marker = -1;
	pthread_mutex_init(&img->lock, NULL);
	return img;
}

int image_open(const char *dir, bool verify, struct image **ret, struct crcore_error *err)
{
	struct image *img = image_new(dir);
	int r;

	if (!img)
		return crcore_no_memory(err);
	r = folder_open(img, dir, err);
	if (r == 0)
		r = manifest_read(img, err);
	for (unsigned i = 0; i < img->nfiles && r == 0; i++) {
		if (img->files[i]->contained)
			continue;
		r = image_file_open(img, img->files[i], err);
		if (r == 0 && img->files[i]->kind == FILE_RECORDS)
			r = load_records(img, img->files[i], err);
		if (r == 0)
			r = packed_ready(img, img->files[i], err);
	}
	if (r == 0 && verify)
		r = image_verify(img, err);
	if (r < 0) {
		if (r == -EBADMSG)
			crcore_advise(err, "take another copy of the image, or dump again");
		image_close(img);
		return r;
	}
	*ret = img;
	return 0;
}

const Crcore__Manifest *image_manifest(const struct image *img)
{
	return img->manifest;
}

/* Takes a record's length off the front. */
static bool take_length(const unsigned char **p, size_t *left, size_t *ret)
{
	size_t v = 0;

	for (unsigned shift = 0; *left && shift < 35; shift += 7) {
		unsigned char b = *(*p)++;
		(*left)--;
		v |= (size_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return v <= IMAGE_RECORD_MAX && v <= *left;
		}
	}
	return false;
}

int image_each(struct image *img, const char *prefix, const char *section,
               int (*fn)(void *arg, const void *msg, size_t len, struct crcore_error *), void *arg,
               struct crcore_error *err)
{
	char name[IMAGE_NAME_MAX];
	int r = image_section_name(prefix, section, name, err);

	if (r < 0)
		return r;
	struct image_file *f = image_file_find(img, name);
	if (!f)
		return 0;
	if ((r = load_records(img, f, err)) < 0) /* an ancestor's */
		return r;
	const unsigned char *p = f->buf;
	size_t left = f->used, len = 0;
	for (unsigned i = 1; left && r == 0; i++) {
		if (!take_length(&p, &left, &len))
			r = crcore_fail(err, -EBADMSG, "a record runs past the end: damaged");
		else
			r = fn(arg, p, len, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "image %s/%s, record %u", img->path, name, i);
		else {
			p += len;
			left -= len;
		}
	}
	return r;
}

struct each_message {
	const ProtobufCMessageDescriptor *type;
	int (*fn)(void *arg, ProtobufCMessage *msg, struct crcore_error *);
	void *arg;
};

static int unpack_one(void *arg, const void *bytes, size_t len, struct crcore_error *err)
{
	struct each_message *e = arg;
	ProtobufCMessage *m = message_unpack(e->type, bytes, len, err);

	return m ? e->fn(e->arg, m, err) : -EBADMSG;
}

int image_each_message(struct image *img, const char *prefix, const char *section,
                       const ProtobufCMessageDescriptor *type,
                       int (*fn)(void *arg, ProtobufCMessage *msg, struct crcore_error *),
                       void *arg, struct crcore_error *err)
{
	struct each_message e = { type, fn, arg };

	return image_each(img, prefix, section, unpack_one, &e, err);
}

int image_bulk_read(struct image *img, const char *name, uint64_t *ret_len,
                    struct crcore_error *err)
{
	struct image_file *f = image_file_find(img, name);

	if (!f || f->kind != FILE_BULK)
		return image_fail(img, name, -ENOENT, "the image has no such file", err);
	*ret_len = f->length;
	return f->fd;
}

int image_folder(const struct image *img)
{
	return img->dir;
}

int *image_descriptors(const struct image *img, unsigned *ret_n)
{
	unsigned n = 0;
	int *v = NULL;
	bool ok = true;

	for (const struct image *i = img; i && ok; i = i->older) {
		if ((ok = GROW(v, n)))
			v[n++] = i->dir; /* -1: it is not needed any more */
		for (unsigned k = 0; k < i->nfiles && ok; k++)
			if (i->files[k]->fd >= 0 && (ok = GROW(v, n)))
				v[n++] = i->files[k]->fd;
	}
	if (!ok)
		free(STEAL(v));
	*ret_n = n;
	return v;
}
