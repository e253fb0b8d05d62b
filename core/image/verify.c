/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums of the bulk files of an image that is being read. A few threads
 * take block after block from one counter; each needs one buffer and nothing
 * else, so this can run beside a restore that reads the same files.
 */
#include <endian.h>
#include <sched.h>
#include <stdatomic.h>
#include "core/image/image_priv.h"

#define THREADS_MAX 8
#define BLOCKS_PER_THREAD 32 /* fewer are not worth a thread */

struct verify {
	struct image *img;
	const struct image_file *file;
	atomic_ullong next;       /* block to take */
	atomic_ullong bad;        /* lowest block that is wrong; UINT64_MAX: none */
	atomic_int error;         /* negative errno of a read that failed */
};

static void note_bad(struct verify *v, unsigned long long block)
{
	unsigned long long seen = atomic_load(&v->bad);

	while (block < seen && !atomic_compare_exchange_weak(&v->bad, &seen, block))
		;
}

static void *verify_blocks(void *arg)
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
	for (;;) {
		uint64_t block = atomic_fetch_add(&v->next, 1);
		if (block >= f->nblocks || atomic_load(&v->error) || atomic_load(&v->bad) < block)
			break;
		bulk_stored_at(f, block, &at, &n);
		int r = pread_all(fd, buf, n, at);
		if (r < 0)
			atomic_store(&v->error, r);
		else if (XXH3_64bits(buf, n) != le64toh(f->blocks[block]))
			note_bad(v, block);
	}
	bulk_close(f, fd);
	return NULL;
}

static unsigned count_threads(uint64_t blocks)
{
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);
	uint64_t worth = blocks / BLOCKS_PER_THREAD;

	n = n > THREADS_MAX ? THREADS_MAX : n;
	return worth < n ? (unsigned)worth : n;
}

static int verify_file(struct image *img, const struct image_file *f, struct crcore_error *err)
{
	struct verify v = { .img = img, .file = f };
	pthread_t threads[THREADS_MAX];
	unsigned want = count_threads(f->nblocks), n = 0;

	atomic_init(&v.bad, UINT64_MAX);
	while (n + 1 < want && !pthread_create(&threads[n], NULL, verify_blocks, &v))
		n++;
	verify_blocks(&v);
	while (n)
		pthread_join(threads[--n], NULL);
	int r = atomic_load(&v.error);
	uint64_t bad = atomic_load(&v.bad);
	if (r == 0 && bad != UINT64_MAX)
		r = crcore_fail(err, -EBADMSG, "the checksum of the bytes from %llu on%s is wrong: damaged",
		                (unsigned long long)(bad * IMAGE_BLOCK), f->index ? " (unpacked)" : "");
	if (r < 0)
		image_fail(img, f->name, r, "cannot read the file", err);
	return r;
}

static int verify_pages(struct image *img, struct crcore_error *err)
{
	cleanup_free struct image_file **v = pages_files(img);
	int r = v ? 0 : crcore_fail(err, -ENOMEM, "out of memory");

	for (unsigned i = 0; r == 0 && i < img->page_files; i++)
		r = verify_file(img, v[i], err);
	return r;
}

int image_verify(struct image *img, struct crcore_error *err)
{
	int r = chain_open(img, err);

	for (unsigned i = 0; i < img->nfiles && r == 0; i++)
		if (img->files[i]->kind == FILE_BULK)
			r = verify_file(img, img->files[i], err);
	for (struct image *p = img->older; p && r == 0; p = p->older)
		r = verify_pages(p, err);
	return r;
}
