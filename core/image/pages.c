/* SPDX-License-Identifier: Apache-2.0 */
/* The page files of an image as one row of bytes (pages.h). */
#include <endian.h>
#include "core/image/image_priv.h"
#include "core/image/pages.h"

/* Bytes [start, end) of the pages. */
struct page_file {
	uint64_t start, end;
	const struct image_file *file;
	const struct image *image;   /* whose it is */
};

struct pages {
	struct page_file *v;         /* ascending, without gaps */
	unsigned n;
	uint64_t length;
	bool verify;
};

struct image_file **pages_files(const struct image *img)
{
	struct image_file **v = calloc(img->page_files + 1, sizeof(*v));

	for (unsigned i = 0; v && i < img->nfiles; i++) {
		unsigned n = image_page_number(img->files[i]->name);
		if (n && n <= img->page_files)
			v[n - 1] = img->files[i];
	}
	return v;
}

uint64_t pages_own(const struct image *img)
{
	uint64_t ret = 0;

	for (unsigned i = 0; i < img->nfiles; i++)
		if (image_page_number(img->files[i]->name))
			ret += bulk_length(img->files[i]);
	return ret;
}

static bool add_file(struct pages *p, const struct image *img, const struct image_file *f)
{
	if (!bulk_length(f))
		return true;
	if (!GROW(p->v, p->n))
		return false;
	p->v[p->n++] = (struct page_file){ p->length, p->length + bulk_length(f), f, img };
	p->length += bulk_length(f);
	return true;
}

static bool add_image(struct pages *p, const struct image *img)
{
	cleanup_free struct image_file **v = pages_files(img);
	bool ok = v;

	for (unsigned i = 0; ok && i < img->page_files; i++)
		ok = add_file(p, img, v[i]);
	return ok;
}

/* The oldest first. */
static int add_files(struct pages *p, struct image *img, struct crcore_error *err)
{
	struct image **v = NULL;
	unsigned n = 0;
	int r = 0;

	for (struct image *i = img; i && r == 0; i = i->older) {
		if (GROW(v, n))
			v[n++] = i;
		else
			r = crcore_no_memory(err);
	}
	while (n && r == 0)
		r = add_image(p, v[--n]) ? 0 : crcore_no_memory(err);
	free(v);
	return r;
}

int pages_open(struct image *img, struct pages **ret, struct crcore_error *err)
{
	struct pages *p = calloc(1, sizeof(*p));
	int r = p ? chain_open(img, err) : crcore_no_memory(err);

	if (r == 0)
		r = add_files(p, img, err);

	if (r < 0)
		pages_close(p);
	else
		*ret = p;
	return r;
}

uint64_t pages_length(const struct pages *p)
{
	return p->length;
}

/* The file that holds the byte at offset, which is one of the pages. */
static const struct page_file *find(const struct pages *p, uint64_t offset)
{
	unsigned low = 0, high = p->n - 1;

	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (offset < p->v[mid].end)
			high = mid;
		else
			low = mid + 1;
	}
	return &p->v[low];
}

void pages_verify(struct pages *p)
{
	p->verify = true;
}

static int read_file(const struct page_file *f, uint64_t at, void *buf, size_t len, bool check,
                     struct crcore_error *err)
{
	int r = bulk_read(f->image, f->file, at, buf, len, check);

	if (r == -EUCLEAN)
		return image_wrong_block(f->image, f->file, at / IMAGE_BLOCK, err);
	if (r == -EBADMSG)
		return image_fail(f->image, f->file->name, r, "does not unpack: damaged", err);
	return r < 0 ? image_cannot(f->image, f->file->name, r, "read the file", err) : 0;
}

static int read_bytes(const struct pages *p, uint64_t offset, void *buf, size_t len, bool check,
                      struct crcore_error *err)
{
	if (offset > p->length || len > p->length - offset)
		return crcore_fail(err, -EBADMSG, "pages that the image does not have");
	for (char *to = buf; len;) {
		const struct page_file *f = find(p, offset);
		uint64_t at = offset - f->start, end = f->end - f->start;
		if (f->file->index && end > at - at % IMAGE_BLOCK + IMAGE_BLOCK)
			end = at - at % IMAGE_BLOCK + IMAGE_BLOCK;
		size_t n = len < end - at ? len : (size_t)(end - at);
		int r = read_file(f, at, to, n, check, err);
		if (r < 0)
			return r;
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int pages_read(struct pages *p, uint64_t offset, void *buf, size_t len, struct crcore_error *err)
{
	return read_bytes(p, offset, buf, len, p->verify, err);
}

bool pages_block(const struct pages *p, uint64_t offset, uint64_t *ret_start, size_t *ret_len)
{
	const struct page_file *f = find(p, offset);
	uint64_t start = offset - (offset - f->start) % IMAGE_BLOCK;

	*ret_start = start;
	*ret_len = f->end - start < IMAGE_BLOCK ? (size_t)(f->end - start) : IMAGE_BLOCK;
	return f->file->index;
}

int pages_read_block(struct pages *p, uint64_t offset, void *buf, struct crcore_error *err)
{
	uint64_t start;
	size_t len;
	const bool packed = pages_block(p, offset, &start, &len);
	int r = read_bytes(p, start, buf, len, true, err);

	if (r < 0 || packed)
		return r;
	const struct page_file *f = find(p, offset);
	const uint64_t block = (offset - f->start) / IMAGE_BLOCK;
	return checksum(buf, len) == le64toh(f->file->blocks[block]) ? 0 :
	       image_wrong_block(f->image, f->file, block, err);
}

int pages_read_part(struct pages *p, uint64_t offset, size_t len, uint8_t *buf,
                    const uint8_t **ret, struct crcore_error *err)
{
	uint64_t start;
	size_t whole;

	*ret = buf;
	if (offset >= p->length || !p->verify || pages_block(p, offset, &start, &whole))
		return pages_read(p, offset, buf, len, err);
	*ret = buf + (offset - start);
	return pages_read_block(p, offset, buf, err);
}

int pages_plain(const struct pages *p, uint64_t offset, uint64_t *ret_at, uint64_t *ret_len)
{
	*ret_len = 0;
	if (offset >= p->length)
		return -1;
	const struct page_file *f = find(p, offset);
	*ret_at = offset - f->start;
	*ret_len = f->end - offset;
	bool plain = !f->file->index && f->file->fd >= 0;
	if (!plain && *ret_len > IMAGE_BLOCK - *ret_at % IMAGE_BLOCK)
		*ret_len = IMAGE_BLOCK - *ret_at % IMAGE_BLOCK;
	return plain ? f->file->fd : -1;
}

void pages_close(struct pages *p)
{
	if (p)
		free(p->v);
	free(p);
}
