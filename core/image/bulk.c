/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk files: raw bytes in blocks of IMAGE_BLOCK, each with a checksum of its
 * own, and a checksum of those. So several threads can write and checksum one
 * file in any order, several can verify it, and damage can be placed.
 *
 * Blocks are hashed while the caller's buffer is still in the cache. A file
 * that was written past us (the sums do not cover its length) is read back. Blocks
 * of an image that packs go to packed.c.
 */
#include <endian.h>
#include <fcntl.h>
#include "core/image/image_priv.h"

uint64_t bulk_count(uint64_t length)
{
	return length / IMAGE_BLOCK + (length % IMAGE_BLOCK != 0);
}

uint64_t bulk_length(const struct image_file *f)
{
	return f->index ? f->unpacked : f->length;
}

uint64_t bulk_checksum(const uint64_t *blocks, uint64_t n)
{
	return checksum(n ? (const void *)blocks : "", n * sizeof(*blocks));
}

int image_bulk(struct image *img, const char *name, struct crcore_error *err)
{
	if (!img->writing || img->sealed)
		return image_fail(img, name, -EBADF, "the image is not being written", err);
	size_t n = strlen(name);
	if (!image_plain_name(name) || strcmp(name + n - 4, ".bin"))
		return crcore_fail(err, -EINVAL, "'%.100s' is no name for a bulk file", name);
	struct image_file *f = image_file_find(img, name);
	if (f)
		return f->fd;
	f = image_file_add(img, name, FILE_BULK, err);
	if (!f)
		return -ENOMEM;
	int r = image_file_create(img, f, err);
	return r < 0 ? r : f->fd;
}

static struct image_file *find_fd(struct image *img, int fd)
{
	struct image_file *f = NULL;

	pthread_mutex_lock(&img->lock);
	for (unsigned i = 0; i < img->nfiles && !f; i++)
		if (img->files[i]->fd == fd && img->files[i]->kind == FILE_BULK)
			f = img->files[i];
	pthread_mutex_unlock(&img->lock);
	return f;
}

/* Room for block n, zeroed; the caller has the lock if there are others. */
static bool room_for(struct image_file *f, uint64_t n)
{
	if (n < f->room_blocks)
		return true;
	uint64_t room = f->room_blocks ? f->room_blocks : 16;
	while (room <= n)
		room *= 2;
	uint64_t *p = realloc(f->blocks, room * sizeof(*p));
	if (!p)
		return false;
	memset(p + f->room_blocks, 0, (room - f->room_blocks) * sizeof(*p));
	f->blocks = p;
	f->room_blocks = room;
	return true;
}

int bulk_put_block(struct image_file *f, uint64_t n, uint64_t sum)
{
	if (!room_for(f, n))
		return -ENOMEM;
	f->blocks[n] = htole64(sum);
	if (n >= f->nblocks)
		f->nblocks = n + 1;
	return 0;
}

int bulk_store(struct image_file *f, const void *buf, size_t len, uint64_t offset)
{
	if (!f->part)
		return pwrite_all(f->fd, buf, len, offset);
	memcpy(f->part + offset, buf, len);
	return 0;
}

static int write_block(struct image *img, struct image_file *f, uint64_t block, const void *buf,
                       size_t len)
{
	uint64_t sum = checksum(buf, len);
	int r = bulk_store(f, buf, len, block * IMAGE_BLOCK);

	pthread_mutex_lock(&img->lock);
	if (r == 0)
		r = bulk_put_block(f, block, sum);
	if (r == 0)
		f->hashed += len;
	pthread_mutex_unlock(&img->lock);
	return r;
}

static int put_in(struct image *img, struct image_file *f, uint64_t block, const void *buf,
                  size_t len, struct crcore_error *err)
{
	if (!f || len > IMAGE_BLOCK || block > UINT64_MAX / 2 / IMAGE_BLOCK)
		return image_write_failed(img, f ? f->name : NULL, f ? -EINVAL : -EBADF, err);
	bool packs = img->codec != PACK_PLAIN && image_page_number(f->name);
	int r = packs ? packed_write(img, f, block, buf, len) : write_block(img, f, block, buf, len);
	return r < 0 ? image_write_failed(img, f->name, r, err) : 0;
}

int image_bulk_block(struct image *img, int fd, uint64_t block, const void *buf, size_t len,
                     struct crcore_error *err)
{
	return put_in(img, find_fd(img, fd), block, buf, len, err);
}

unsigned image_page_files(const struct image *img)
{
	/* Packing, or whoever reads a stream, takes longer than any waiting. */
	return img->stream || img->codec != PACK_PLAIN ? 1 : PAGE_FILES;
}

int image_pages_begin(struct image *img, unsigned n, struct crcore_error *err)
{
	for (unsigned i = 0; !img->stream && i < n; i++) {
		char name[32];
		snprintf(name, sizeof(name), "pages-%u.bin", i + 1);
		int fd = image_bulk(img, name, err);
		if (fd < 0)
			return fd;
		img->pages[i] = image_file_find(img, name);
	}
	return 0;
}

int image_pages_block(struct image *img, unsigned file, uint64_t block, const void *buf, size_t len,
                      struct crcore_error *err)
{
	struct image_file *f = img->stream ? stream_part(img, &block, err) : img->pages[file];

	if (!f)
		return img->stream ?
		       -ECANCELED /* err says why */ : image_write_failed(img, NULL, -EBADF, err);
	int r = put_in(img, f, block, buf, len, err);
	return r == 0 && img->stream ? stream_filled(img, f, err) : r;
}

/* Checksums a file that was written by other means. */
static int read_back(struct image_file *f)
{
	cleanup_free unsigned char *buf = malloc(IMAGE_BLOCK);

	f->nblocks = 0;
	f->hashed = 0;
	while (buf && f->hashed < f->length) {
		uint64_t left = f->length - f->hashed;
		size_t n = left < IMAGE_BLOCK ? left : IMAGE_BLOCK;
		int r = pread_all(f->fd, buf, n, f->hashed);
		if (r == 0)
			r = bulk_put_block(f, f->hashed / IMAGE_BLOCK, checksum(buf, n));
		if (r < 0)
			return r;
		f->hashed += n;
	}
	return buf ? 0 : -ENOMEM;
}

int bulk_finish(struct image *img, struct image_file *f, struct crcore_error *err)
{
	struct stat st;
	int r = fstat(f->fd, &st) < 0 ? -errno : 0;

	if (r == 0) {
		f->length = (uint64_t)st.st_size;
		if (f->index) /* all blocks there, and nothing that is not of a block */
			r = f->hashed == f->unpacked && f->end == f->length ? 0 : -EINVAL;
		else if (f->hashed != f->length)
			r = read_back(f);
	}
	return r < 0 ? image_cannot(img, f->name, r, "read the file back", err) : 0;
}
