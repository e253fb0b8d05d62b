/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest: says what an image consists of, with the length and checksum of
 * every file, and ends with a checksum of itself. The last field of the message
 * is the last of the file, so the file is plain protobuf and still covers itself:
 *
 *     [ message without checksum | tag of field 100 | XXH3-64 of what is before the tag ]
 *
 * `format` and this ending stay as they are in every later format, so that any
 * version can tell "too new" from "damaged".
 */
#include <endian.h>
#include <fcntl.h>
#include "core/image/image_priv.h"

#define TRAILER 10 /* two bytes of tag, eight of checksum */
static const unsigned char checksum_tag[2] = { 0xa1, 0x06 }; /* field 100, 64 bits */

static Crcore__File *describe(const struct image_file *f)
{
	Crcore__File *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	crcore__file__init(r);
	r->name = (char *)f->name;
	r->length = f->length;
	if (f->kind == FILE_BULK) {
		r->xxh3 = bulk_checksum(f->blocks, f->nblocks);
		r->blocks.data = (uint8_t *)f->blocks;
		r->blocks.len = f->nblocks * sizeof(*f->blocks);
		r->unpacked = f->unpacked;
		r->index.data = (uint8_t *)f->index;
		r->index.len = f->index ? f->nblocks * sizeof(*f->index) : 0;
	} else if (f->contained) {
		r->length = f->used;
		r->xxh3 = checksum(f->buf, f->used);
		r->contents.data = f->buf;
		r->contents.len = f->used;
	} else {
		r->xxh3 = XXH3_64bits_digest(f->state);
	}
	return r;
}

static int write_file(struct image *img, const void *bytes, size_t len, struct crcore_error *err)
{
	int r = 0;

	if (img->stream)
		return stream_bytes(img, MANIFEST, bytes, len, err);
	r = pwrite_all(img->marker, bytes, len, 0);

	if (r == 0 && img->sync && fsync(img->marker) < 0)
		r = -errno;
	return r < 0 ? image_write_failed(img, MANIFEST_TMP, r, err) : 0;
}

static int pack_and_write(struct image *img, Crcore__Manifest *m, struct crcore_error *err)
{
	m->checksum = 0; /* left out by the packer */
	size_t len = crcore__manifest__get_packed_size(m);
	cleanup_free unsigned char *bytes = malloc(len + TRAILER);

	if (!bytes)
		return crcore_no_memory(err);
	if (len + TRAILER > IMAGE_MANIFEST_MAX)
		return image_fail(img, MANIFEST, -EMSGSIZE, "too long", err);
	crcore__manifest__pack(m, bytes);
	m->checksum = checksum(bytes, len);
	uint64_t sum = htole64(m->checksum);
	memcpy(bytes + len, checksum_tag, sizeof(checksum_tag));
	memcpy(bytes + len + sizeof(checksum_tag), &sum, sizeof(sum));
	return write_file(img, bytes, len + TRAILER, err);
}

int manifest_write(struct image *img, Crcore__Manifest *m, struct crcore_error *err)
{
	Crcore__File **files = calloc(img->nfiles + 1, sizeof(*files));
	int r = files ? 0 : -ENOMEM;

	for (unsigned i = 0; i < img->nfiles && r == 0; i++)
		if (!(files[i] = describe(img->files[i])))
			r = -ENOMEM;
	if (r == 0) {
		m->format = IMAGE_FORMAT;
		m->files = files;
		m->n_files = img->nfiles;
		r = pack_and_write(img, m, err);
		m->files = NULL;
		m->n_files = 0;
	} else {
		crcore_fail(err, r, "out of memory");
	}
	for (unsigned i = 0; files && i < img->nfiles; i++)
		free(files[i]);
	free(files);
	return r;
}

/* ---- reading ---- */

static int damaged(struct image *img, const char *why, struct crcore_error *err)
{
	image_fail(img, MANIFEST, -EBADMSG, why, err);
	return -EBADMSG;
}

static int read_file(struct image *img, unsigned char **ret, size_t *ret_len,
                     struct crcore_error *err)
{
	cleanup_close int fd = openat(img->dir, MANIFEST,
	                              O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT) {
		bool tmp = faccessat(img->dir, MANIFEST_TMP, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
		image_fail(img, NULL, -ENOENT, tmp ? "the image was never finished" :
		           "there is no image in this folder", err);
		crcore_advise(err, tmp ? "dump again" : "name the folder of an image with -D");
		return -ENOENT;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return image_cannot(img, MANIFEST, -errno, "open the manifest", err);
	if (!S_ISREG(st.st_mode))
		return damaged(img, "not a plain file", err);
	if (st.st_size > IMAGE_MANIFEST_MAX)
		return damaged(img, "too long to be a manifest", err);
	cleanup_free unsigned char *bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return crcore_no_memory(err);
	int r = pread_all(fd, bytes, (size_t)st.st_size, 0);
	if (r < 0)
		return image_cannot(img, MANIFEST, r, "read the manifest", err);
	*ret = STEAL(bytes);
	*ret_len = (size_t)st.st_size;
	return 0;
}

/* Field 1 is format and comes first: readable even where the rest is not. */
static uint64_t peek_format(const unsigned char *p, size_t len)
{
	uint64_t v = 0;

	if (len < 2 || p[0] != 0x08)
		return 0;
	for (size_t i = 1, shift = 0; i < len && shift < 64; i++, shift += 7) {
		v |= (uint64_t)(p[i] & 0x7f) << shift;
		if (!(p[i] & 0x80))
			break;
	}
	return v;
}

/* The ending is right and the format is ours. */
static int check_seal(struct image *img, const unsigned char *bytes, size_t len,
                      struct crcore_error *err)
{
	uint64_t sum;

	if (len < TRAILER)
		return damaged(img, "too short to be a manifest: damaged or truncated", err);
	memcpy(&sum, bytes + len - sizeof(sum), sizeof(sum));
	if (memcmp(bytes + len - TRAILER, checksum_tag, sizeof(checksum_tag)) ||
	    le64toh(sum) != checksum(bytes, len - TRAILER))
		return damaged(img, "the checksum is wrong: damaged, or not an image of crcore", err);
	uint64_t format = peek_format(bytes, len);
	if (format == IMAGE_FORMAT)
		return 0;
	crcore_fail(err, -EPROTONOSUPPORT, "the image has format %llu, this crcore reads %u",
	            (unsigned long long)format, IMAGE_FORMAT);
	crcore_advise(err, "use the version of crcore that made the image, or a newer one");
	return image_fail(img, MANIFEST, -EPROTONOSUPPORT, "", err);
}

/* A section that the manifest holds itself. */
static int take_contents(struct image *img, struct image_file *f, const Crcore__File *m,
                         struct crcore_error *err)
{
	if (m->length != m->contents.len || m->xxh3 != checksum(m->contents.data, m->contents.len))
		return damaged(img, "holds a section with a wrong checksum", err);
	f->buf = malloc(m->contents.len);
	if (!f->buf)
		return crcore_no_memory(err);
	memcpy(f->buf, m->contents.data, m->contents.len);
	f->used = m->contents.len;
	f->contained = true;
	return 0;
}

/* One file's entry: makes the image_file that the sections are read through. */
static int add_file(struct image *img, const Crcore__File *m, struct crcore_error *err)
{
	if (!image_plain_name(m->name))
		return damaged(img, "names a file that cannot be an image's", err);
	if (image_file_find(img, m->name))
		return damaged(img, "names a file twice", err);
	const char *bad = NULL;
	bool bulk = !strcmp(m->name + strlen(m->name) - 4, ".bin");
	struct image_file *f = image_file_add(img, m->name, bulk ? FILE_BULK : FILE_RECORDS, err);
	if (!f)
		return -ENOMEM;
	f->length = m->length;
	f->hashed = m->xxh3;
	if (!bulk && m->contents.len)
		return take_contents(img, f, m, err);
	if (!bulk)
		return m->length <= IMAGE_SECTION_MAX && !m->blocks.len && !m->unpacked &&
		       !m->index.len ? 0 : damaged(img, "has a file of records that is too long", err);
	if ((m->unpacked || m->index.len) && !image_page_number(m->name))
		return damaged(img, "has a packed file that is not of pages", err);
	if (m->unpacked || m->index.len)
		bad = packed_parse(f, m->unpacked, m->index.data, m->index.len);
	if (bad)
		return damaged(img, bad, err);
	if (m->contents.len || m->length > INT64_MAX ||
	    m->blocks.len != bulk_count(bulk_length(f)) * sizeof(uint64_t) ||
	    m->xxh3 != checksum(m->blocks.len ? m->blocks.data : (const void *)"", m->blocks.len))
		return damaged(img, "has wrong checksums for a bulk file", err);
	f->nblocks = m->blocks.len / sizeof(uint64_t);
	f->blocks = malloc(m->blocks.len + 1);
	if (!f->blocks)
		return crcore_no_memory(err);
	if (m->blocks.len)
		memcpy(f->blocks, m->blocks.data, m->blocks.len);
	return 0;
}

static bool good_word(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_");

	return n && n < 64 && !s[n];
}

static int check_plugins(struct image *img, const Crcore__Manifest *m, struct crcore_error *err)
{
	for (size_t i = 0; i < m->n_plugins; i++) {
		const Crcore__PluginUse *p = m->plugins[i];
		if (!good_word(p->name))
			return damaged(img, "names a plugin that cannot be one", err);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(m->plugins[j]->name, p->name))
				return damaged(img, "names a plugin twice", err);
		for (size_t j = 0; j < p->n_sections; j++)
			if (!good_word(p->sections[j]->name))
				return damaged(img, "names a section that cannot be one", err);
	}
	return 0;
}

static int check_chain(struct image *img, const Crcore__Manifest *m, struct crcore_error *err)
{
	const Crcore__Parent *p = m->parent;
	const Crcore__Tracking *t = m->tracking;

	if (p && (!p->path[0] || p->pages > INT64_MAX || p->pages % PAGE))
		return damaged(img, "names a parent that cannot be one", err);
	if (t && (!t->pid || t->pid > INT32_MAX || t->table > INT32_MAX ||
	          t->secret.len != TRACKING_SECRET))
		return damaged(img, "names a process that cannot be one", err);
	return 0;
}

#define PLUGINS_MAX 256

/* They are numbered from 1, without gaps. */
static int count_page_files(struct image *img, struct crcore_error *err)
{
	unsigned last = 0;

	for (unsigned i = 0; i < img->nfiles; i++) {
		unsigned n = image_page_number(img->files[i]->name);
		img->page_files += n > 0;
		last = n > last ? n : last;
	}
	return last == img->page_files ? 0 : damaged(img, "lacks some of the files of pages", err);
}

int manifest_parse(struct image *img, const unsigned char *bytes, size_t len,
                   struct crcore_error *err)
{
	int r = check_seal(img, bytes, len, err);

	if (r < 0)
		return r;
	Crcore__Manifest *m = (Crcore__Manifest *)message_unpack(&crcore__manifest__descriptor,
	                                                         bytes, len, err);
	if (!m)
		return damaged(img, "not readable", err);
	img->manifest = m;
	if (m->n_plugins > PLUGINS_MAX || m->n_files > IMAGE_FILES_MAX)
		return damaged(img, "has too many entries", err);
	r = check_plugins(img, m, err);
	if (r == 0)
		r = check_chain(img, m, err);
	for (size_t i = 0; i < m->n_files && r == 0; i++)
		r = add_file(img, m->files[i], err);
	return r == 0 ? count_page_files(img, err) : r;
}

int manifest_read(struct image *img, struct crcore_error *err)
{
	cleanup_free unsigned char *bytes = NULL;
	size_t len = 0;
	int r = read_file(img, &bytes, &len, err);

	return r < 0 ? r : manifest_parse(img, bytes, len, err);
}
