/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums of the bulk files of an image that is being read, by several threads.
 * Each needs one buffer and nothing else, so this can run beside a restore that
 * reads the same files.
 */
#include <endian.h>
#include <stdatomic.h>
#include "core/image/image_priv.h"
#include "core/util/parallel.h"

#define CHUNK 10 /* blocks that a thread reads before it takes more */

struct verify {
	struct image *img;
	const struct image_file *file;
	atomic_ullong bad;        /* lowest block that is wrong; UINT64_MAX: none */
	atomic_int error;         /* negative errno of a read that failed */
};

static void note_bad(struct verify *v, unsigned long long block)
{
	unsigned long long seen = atomic_load(&v->bad);

	while (block < seen && !atomic_compare_exchange_weak(&v->bad, &seen, block))
		;
}

static void verify_blocks(void *arg, size_t from, size_t to)
{
	struct verify *v = arg;
	const struct image_file *f = v->file;
	cleanup_free unsigned char *buf = malloc(IMAGE_BLOCK);
	int fd = bulk_open(v->img, f);
	uint64_t at;
	size_t n;

	if (!buf)
		atomic_store(&v->error, -ENOMEM);
	else if (fd < 0)
		atomic_store(&v->error, fd);
	for (uint64_t block = from; block < to; block++) {
		if (atomic_load(&v->error) || atomic_load(&v->bad) < block)
			break;
		bulk_stored_at(f, block, &at, &n);
		int r = pread_all(fd, buf, n, at);
		if (r < 0)
			atomic_store(&v->error, r);
		else if (checksum(buf, n) != le64toh(f->blocks[block]))
			note_bad(v, block);
	}
	bulk_close(f, fd);
}

int image_wrong_block(const struct image *img, const struct image_file *f, uint64_t block,
                      struct crcore_error *err)
{
	crcore_fail(err, -EBADMSG, "the checksum of the bytes from %llu on%s is wrong: damaged",
	            (unsigned long long)(block * IMAGE_BLOCK), f->index ? " (unpacked)" : "");
	return image_fail(img, f->name, -EBADMSG, "", err);
}

static int verify_file(struct image *img, const struct image_file *f, struct crcore_error *err)
{
	struct verify v = { .img = img, .file = f };

	atomic_init(&v.bad, UINT64_MAX);
	parallel(f->nblocks, CHUNK, verify_blocks, &v);
	int r = atomic_load(&v.error);
	uint64_t bad = atomic_load(&v.bad);
	if (r < 0)
		return image_cannot(img, f->name, r, "read the file", err);
	return bad == UINT64_MAX ? 0 : image_wrong_block(img, f, bad, err);
}

static int verify_pages(struct image *img, struct crcore_error *err)
{
	cleanup_free struct image_file **v = pages_files(img);
	int r = v ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; r == 0 && i < img->page_files; i++)
		r = verify_file(img, v[i], err);
	return r;
}

int image_verify_others(struct image *img, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < img->nfiles && r == 0; i++)
		if (img->files[i]->kind == FILE_BULK && !image_page_number(img->files[i]->name))
			r = verify_file(img, img->files[i], err);
	return r;
}

int image_verify(struct image *img, struct crcore_error *err)
{
	int r = chain_open(img, err);

	if (r == 0)
		r = image_verify_others(img, err);
	for (struct image *p = img; p && r == 0; p = p->older)
		r = verify_pages(p, err);
	return r;
}
