/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing an image. Records gather in one buffer a section, which is packed
 * into directly, checksummed and written when it is full or at the seal. One
 * that is short at the seal goes into the manifest instead: making files is what
 * the image of a tiny process would cost, so it has two.
 * No thread but the caller's may be in here, except in image_bulk_block().
 */
#include <fcntl.h>
#include "core/image/image_priv.h"

#define BUFFER_MIN 4096u
#define BUFFER_FLUSH (256u << 10)

int image_create(const char *dir, bool sync, struct image **ret, struct crcore_error *err)
{
	struct image *img = image_new(dir);
	int r;

	if (!img)
		return crcore_no_memory(err);
	img->writing = true;
	img->sync = sync;
	r = folder_make(img, dir, err);
	if (r < 0) {
		image_close(img);
		return r;
	}
	*ret = img;
	return 0;
}

/* Writes the buffer out and empties it. */
static int flush(struct image *img, struct image_file *f, struct crcore_error *err)
{
	int r = f->fd < 0 ? image_file_create(img, f, err) : 0;

	if (r < 0)
		return r;
	if (!f->state) {
		f->state = XXH3_createState();
		if (!f->state)
			return crcore_no_memory(err);
		XXH3_64bits_reset(f->state);
	}
	XXH3_64bits_update(f->state, f->buf, f->used);
	r = write_all(f->fd, f->buf, f->used);
	if (r < 0)
		return image_write_failed(img, f->name, r, err);
	f->length += f->used;
	f->used = 0;
	return 0;
}

/* Room for n more bytes in the buffer. */
static int reserve(struct image *img, struct image_file *f, size_t n, struct crcore_error *err)
{
	if (f->used && f->used + n > BUFFER_FLUSH) {
		int r = flush(img, f, err);
		if (r < 0)
			return r;
	}
	if (f->used + n <= f->room)
		return 0;
	size_t room = f->room ? f->room : BUFFER_MIN;
	while (room < f->used + n)
		room *= 2;
	void *p = realloc(f->buf, room);
	if (!p)
		return crcore_no_memory(err);
	f->buf = p;
	f->room = room;
	return 0;
}

static size_t put_length(unsigned char *p, size_t len)
{
	size_t n = 0;

	for (; len >= 0x80; len >>= 7)
		p[n++] = (unsigned char)(len | 0x80);
	p[n++] = (unsigned char)len;
	return n;
}

/* The section's file, with room for a record of len bytes and its length written. */
static int begin_record(struct image *img, const char *prefix, const char *section, size_t len,
                        struct image_file **ret, struct crcore_error *err)
{
	char name[IMAGE_NAME_MAX];
	int r = image_section_name(prefix, section, name, err);

	if (r < 0)
		return r;
	if (!img->writing || img->sealed)
		return image_fail(img, name, -EBADF, "the image is not being written", err);
	if (!img->last || strcmp(img->last->name, name))
		img->last = image_file_find(img, name);
	if (!img->last)
		img->last = image_file_add(img, name, FILE_RECORDS, err);
	struct image_file *f = img->last;
	if (!f)
		return -ENOMEM;
	if (len > IMAGE_RECORD_MAX || f->length + f->used + len + 8 > IMAGE_SECTION_MAX)
		return image_fail(img, name, -EMSGSIZE, len > IMAGE_RECORD_MAX ?
		                  "a record is too long" : "a section is too long", err);
	r = reserve(img, f, len + 8, err);
	if (r < 0)
		return r;
	f->used += put_length(f->buf + f->used, len);
	*ret = f;
	return 0;
}

int image_put(struct image *img, const char *prefix, const char *section, const void *msg,
              size_t len, struct crcore_error *err)
{
	struct image_file *f = NULL;
	int r = begin_record(img, prefix, section, len, &f, err);

	if (r < 0)
		return r;
	if (len)
		memcpy(f->buf + f->used, msg, len);
	f->used += len;
	return 0;
}

int image_put_message(struct image *img, const char *prefix, const char *section,
                      const ProtobufCMessage *msg, struct crcore_error *err)
{
	struct image_file *f = NULL;
	size_t len = protobuf_c_message_get_packed_size(msg);
	int r = begin_record(img, prefix, section, len, &f, err);

	if (r < 0)
		return r;
	f->used += protobuf_c_message_pack(msg, f->buf + f->used);
	return 0;
}

static int finish_file(struct image *img, struct image_file *f, struct crcore_error *err)
{
	int r;

	f->contained = f->kind == FILE_RECORDS && f->fd < 0 && f->used <= IMAGE_INLINE_MAX;
	if (f->contained || (img->stream && image_page_number(f->name)))
		return 0;
	r = f->kind == FILE_BULK ? bulk_finish(img, f, err) : flush(img, f, err);
	if (r == 0 && img->sync && fdatasync(f->fd) < 0)
		r = image_write_failed(img, f->name, -errno, err);
	return r;
}

void image_on_seal(struct image *img, void (*fn)(void *), void *arg)
{
	img->on_seal = fn;
	img->on_seal_arg = arg;
}

int image_seal(struct image *img, Crcore__Manifest *m, struct crcore_error *err)
{
	if (!img->writing || img->sealed)
		return image_fail(img, NULL, -EBADF, "the image is not being written", err);
	int r = img->stream ? stream_send_parts(img, err) : 0;
	for (unsigned i = 0; r == 0 && i < img->nfiles; i++)
		r = finish_file(img, img->files[i], err);
	if (r == 0 && img->stream)
		r = stream_send_files(img, err);
	if (r == 0)
		r = manifest_write(img, m, err);
	if (r == 0 && img->on_seal)
		img->on_seal(img->on_seal_arg);
	if (r == 0 && img->stream) {
		img->sealed = true;
		return stream_end(img, err);
	}
	if (r < 0)
		return r;
	if (renameat(img->dir, MANIFEST_TMP, img->dir, MANIFEST) < 0)
		return image_cannot(img, MANIFEST, -errno, "rename manifest.tmp", err);
	img->sealed = true;
	if (img->sync && fsync(img->dir) < 0)
		return image_cannot(img, NULL, -errno, "sync the folder", err);
	return 0;
}

static void close_one(struct image *img)
{
	if (img->writing && !img->sealed && !img->stream)
		folder_unmake(img);
	stream_free(img->stream);
	for (unsigned i = 0; i < img->nfiles; i++)
		image_file_free(img->files[i]);
	free(img->files);
	if (img->manifest)
		crcore__manifest__free_unpacked(img->manifest, NULL);
	if (img->dir >= 0)
		close(img->dir);
	if (img->parent >= 0)
		close(img->parent);
	if (img->marker >= 0)
		close(img->marker);
	for (unsigned i = 0; i < PACK_CODECS; i++)
		pack_close(img->packs[i]);
	pthread_mutex_destroy(&img->lock);
	free(img->path);
	free(img->base);
	free(img);
}

void image_close(struct image *img)
{
	while (img) {
		struct image *older = img->older;
		close_one(img);
		img = older;
	}
}
