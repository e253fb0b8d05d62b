/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies pages into the image: several workers, each with a buffer of one image
 * block that stays in its cache. A worker reads pages into what room its block
 * has left, throws out those that are all zero, and writes the block when it
 * is full; which block of the file that is, is decided only then. What is left
 * over in the end is put together and written last.
 *
 * Measured: a block of 1 MiB is as fast as any larger; two workers on two
 * processors nearly halve the time, since the kernel copies on both sides. Each
 * writes a file of its own, since the kernel lets only one at a time write to one:
 * two threads that do nothing else write a GiB in 120 ms to two files, in 210 ms to
 * one. With as much reading in between two processors gain little by it (less
 * waiting at the lock, a tenth of the processor time), more would.
 */
#include "core/memory/store_priv.h"
#include "core/util/parallel.h"
#include "core/util/progress.h"
#include "core/util/trace.h"
#include "core/util/worker.h"

enum { MAX_WORKERS = 8, PAGES_PER_WORKER = 4096, JOBS_PER_WORKER = 256, LATE_MAX = 128 /* blocks */,
       LATE_PAGES = (LATE_MAX - 2 * MAX_WORKERS) * (IMAGE_BLOCK / 4096) };

int store_add(struct store *s, struct source *src, uint64_t addr, uint64_t pages, bool gently,
              bool keep_zero, struct crcore_error *err)
{
	if (!GROW(s->jobs, s->njobs))
		return memory_enomem(err);
	s->jobs[s->njobs++] = (struct job){ src, addr, pages, gently, keep_zero };
	s->pages += pages;
	return 0;
}

/* Takes at most max pages that can be read at once from the queue. */
static bool take(struct queue *q, uint64_t max, struct batch *b)
{
	const struct store *s = q->store;

	b->n = 0;
	b->pages = 0;
	if (b->ngone)
		memset(b->gone, 0, sizeof(b->gone));
	b->ngone = 0;
	pthread_mutex_lock(&q->lock);
	b->job = s->jobs ? &s->jobs[q->job] : NULL;
	while (!q->stop && b->pages < max && q->job < s->njobs) {
		const struct job *j = &s->jobs[q->job];
		if (j->source != b->job->source || j->gently != b->job->gently ||
		    j->keep_zero != b->job->keep_zero)
			break;
		uint64_t n = j->pages - q->taken < max - b->pages ? j->pages - q->taken :
		             max - b->pages;
		b->from[b->n++] = (struct iovec){ (void *)(uintptr_t)(j->addr + q->taken * PAGE),
		                                  n * PAGE };
		b->pages += n;
		q->taken += n;
		if (q->taken == j->pages) {
			q->job++;
			q->taken = 0;
		}
	}
	pthread_mutex_unlock(&q->lock);
	return b->n;
}

/* ---- the block --------------------------------------------------------------------------- */

static bool is_zero(const char *page)
{
	const uint64_t *w = (const uint64_t *)(const void *)page;

	for (unsigned i = 0; i < PAGE / 8; i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
			return false;
	return true;
}

static int note(struct copier *c, struct source *src, uint64_t addr, bool gone,
                struct crcore_error *err)
{
	struct stored *last = c->n > c->flushed ? &c->v[c->n - 1] : NULL;

	c->stored += !gone;
	if (last && last->source == src && last->addr + last->pages * PAGE == addr &&
	    last->gone == gone) {
		last->pages++;
		return 0;
	}
	if (!GROW(c->v, c->n))
		return memory_enomem(err);
	c->v[c->n++] = (struct stored){ src, addr, 1, c->fill, gone };
	return 0;
}

/* Closes up the pages of a batch that was read to the end of the block. */
static int take_in(struct copier *c, const struct batch *b, struct crcore_error *err)
{
	char *from = c->block + c->fill;
	size_t page = 0;
	int r = 0;

	for (unsigned i = 0; i < b->n; i++) {
		uint64_t addr = (uint64_t)(uintptr_t)b->from[i].iov_base;
		for (uint64_t at = 0; r == 0 && at < b->from[i].iov_len;
		     at += PAGE, from += PAGE, page++) {
			if (b->ngone && b->gone[page]) {
				r = note(c, b->job->source, addr + at, true, err);
				continue;
			}
			if (!b->job->keep_zero && is_zero(from)) {
				c->zero++;
				continue;
			}
			r = note(c, b->job->source, addr + at, false, err);
			if (from != c->block + c->fill)
				memcpy(c->block + c->fill, from, PAGE);
			c->fill += PAGE;
		}
	}
	return r;
}

#define IN_FILE (1ull << 63) /* an offset in a file, whose number is in the bits from here on: */
#define FILE_SHIFT 56

static uint64_t in_file(unsigned file, uint64_t offset)
{
	return IN_FILE | (uint64_t)file << FILE_SHIFT | offset;
}

void store_settle(const struct store *s, Crcore__Run *const *v, size_t n)
{
	uint64_t start[PAGE_FILES] = { s->base };

	for (unsigned i = 1; i < PAGE_FILES; i++)
		start[i] = start[i - 1] + s->blocks[i - 1] * IMAGE_BLOCK - (i == 1 ? s->short_by : 0);
	for (size_t i = 0; i < n; i++)
		if (v[i]->source == CRCORE__SOURCE__PAGES && (v[i]->offset & IN_FILE))
			v[i]->offset = (v[i]->offset & ((1ull << FILE_SHIFT) - 1)) +
			               start[(v[i]->offset & ~IN_FILE) >> FILE_SHIFT];
}

/* The offsets of what was noted since the last time are from base on. */
static void place(struct copier *c, uint64_t base)
{
	for (; c->flushed < c->n; c->flushed++)
		c->v[c->flushed].offset += base;
}

/* Hands the block over to be written later; the copier gets a new one. 0: there are too many. */
static int put_off(struct copier *c, unsigned file, uint64_t block, size_t len,
                   struct crcore_error *err)
{
	struct store *s = c->q->store;
	char *fresh = NULL;
	int r = 0;

	pthread_mutex_lock(&c->q->lock);
	if (s->later && s->nlate < LATE_MAX) {
		if (!GROW(s->late, s->nlate) || posix_memalign((void **)&fresh, PAGE, IMAGE_BLOCK))
			r = memory_enomem(err);
		else
			s->late[s->nlate++] = (struct late){ c->block, len, file, block };
	}
	pthread_mutex_unlock(&c->q->lock);
	if (!fresh)
		return r;
	c->block = fresh;
	return 1;
}

static int flush(struct copier *c, struct crcore_error *err)
{
	struct queue *q = c->q;

	pthread_mutex_lock(&q->lock);
	uint64_t block = q->store->blocks[c->file]++;
	pthread_mutex_unlock(&q->lock);
	place(c, in_file(c->file, block * IMAGE_BLOCK));
	c->fill = 0;
	int r = put_off(c, c->file, block, IMAGE_BLOCK, err);
	if (r)
		return r < 0 ? r : 0;
	if (!c->thread) /* the calling thread's copier speaks for all */
		progress("dump: saving memory", block * (IMAGE_BLOCK / PAGE), q->store->pages);
	return image_pages_block(q->store->image, c->file, block, c->block, IMAGE_BLOCK, err);
}

static void *copy(void *arg)
{
	struct copier *c = arg;
	cleanup_free struct batch *b = malloc(sizeof(*b));

	uint64_t start = trace_start();

	c->r = b ? 0 : memory_enomem(&c->err);
	if (b)
		b->ngone = 1;
	while (c->r == 0 && take(c->q, (IMAGE_BLOCK - c->fill) / PAGE, b)) {
		c->r = read_batch(c, b, c->block + c->fill, &c->err);
		if (c->r == 0)
			c->r = take_in(c, b, &c->err);
		if (c->r == 0 && c->fill == IMAGE_BLOCK)
			c->r = flush(c, &c->err);
		if (c->r == 0)
			c->r = worker_check(&c->err);
	}
	if (c->r < 0) {
		pthread_mutex_lock(&c->q->lock);
		c->q->stop = true;
		pthread_mutex_unlock(&c->q->lock);
	}
	trace_end(start, TRACE_HERE, "memory", "copy %llu pages",
	          (unsigned long long)(c->stored + c->zero));
	return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int store_block(struct queue *q, struct copier *c, size_t len, struct crcore_error *err)
{
	uint64_t block = q->store->blocks[0]++;
	int r = put_off(c, 0, block, len, err);

	return r ? (r < 0 ? r : 0) : image_pages_block(q->store->image, 0, block, c->block, len, err);
}

/* Puts the left-over parts of all blocks together behind the full ones; a single one stays
 * where it is. Only the file's last block may be short: where more is to come, the rest of it
 * is wasted. */
static int store_rest(struct queue *q, struct copier *v, unsigned n, struct crcore_error *err)
{
	cleanup_free char *rest = n > 1 ? calloc(n, IMAGE_BLOCK) : NULL;
	uint64_t len = 0;
	int r = 0;

	if (n > 1 && !rest)
		return memory_enomem(err);
	for (unsigned i = 0; i < n; i++) {
		place(&v[i], in_file(0, q->store->blocks[0] * IMAGE_BLOCK + len));
		if (rest)
			memcpy(rest + len, v[i].block, v[i].fill);
		len += v[i].fill;
	}
	if (q->store->live) {
		uint64_t whole = ALIGN_UP(len, (uint64_t)IMAGE_BLOCK);
		if (n == 1)
			memset(v[0].block + len, 0, whole - len);
		len = whole;
	}
	q->store->short_by = ALIGN_UP(len, (uint64_t)IMAGE_BLOCK) - len;
	for (uint64_t at = 0; r == 0 && at < len; at += IMAGE_BLOCK) {
		size_t part = len - at < IMAGE_BLOCK ? len - at : IMAGE_BLOCK;
		if (rest)
			memcpy(v[0].block, rest + at, part);
		r = store_block(q, &v[0], part, err);
	}
	return r;
}

struct late_write { struct store *store; int r; struct crcore_error err; pthread_mutex_t lock; };

static void write_late(void *arg, size_t from, size_t to)
{
	struct late_write *w = arg;
	const struct store *s = w->store;

	for (size_t i = from; i < to; i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		int r = image_pages_block(s->image, s->late[i].file, s->late[i].block,
		                          s->late[i].bytes, s->late[i].len, &err);
		free(STEAL(s->late[i].bytes));
		pthread_mutex_lock(&w->lock);
		if (r < 0 && w->r == 0) {
			w->r = r;
			w->err = err;
		}
		pthread_mutex_unlock(&w->lock);
	}
}

int store_late(struct store *s, struct crcore_error *err)
{
	struct late_write w = { .store = s, .err = CRCORE_ERROR_INIT,
		                .lock = PTHREAD_MUTEX_INITIALIZER };
	unsigned n = PAGE_FILES;

	while (n > 1 && !s->blocks[n - 1])
		n--;
	int r = image_pages_begin(s->image, n, err);
	if (r < 0)
		return r;
	parallel(s->nlate, 1, write_late, &w);
	store_late_free(s);
	if (w.r < 0 && err && !err->code)
		*err = w.err;
	return w.r;
}

void store_late_free(struct store *s)
{
	for (size_t i = 0; i < s->nlate; i++)
		free(s->late[i].bytes);
	free(STEAL(s->late));
	s->nlate = 0;
}

static int hand_over(const struct copier *c, struct store *s, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++)
		r = runs_add(c->v[i].gone ? c->v[i].source->gone : c->v[i].source->runs, c->v[i].addr,
		             c->v[i].pages, CRCORE__SOURCE__PAGES, c->v[i].offset, 0, err);
	s->zero += c->zero;
	s->stored += c->stored;
	return r;
}

/* The first worker is the calling thread. */
static int run_copiers(struct queue *q, struct copier *v, unsigned n, struct crcore_error *err)
{
	unsigned started = 1;

	for (unsigned i = 0; i < n; i++)
		v[i] = (struct copier){ .q = q, .file = i % q->nfiles, .fd = -1, .err = CRCORE_ERROR_INIT };
	for (unsigned i = 0; i < n; i++) {
		if (posix_memalign((void **)&v[i].block, PAGE, IMAGE_BLOCK))
			return memory_enomem(err);
	}
	while (started < n && !pthread_create(&v[started].thread, NULL, copy, &v[started]))
		started++;
	copy(&v[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(v[i].thread, NULL);
	for (unsigned i = 0; i < started; i++)
		if (v[i].r < 0) {
			if (err && !err->code)
				*err = v[i].err;
			return v[i].r;
		}
	return 0;
}

int store_run(struct store *s, struct crcore_error *err)
{
	struct copier v[MAX_WORKERS];
	struct queue q = { .store = s, .lock = PTHREAD_MUTEX_INITIALIZER };
	/* each job is a system call or more, however few its pages are */
	unsigned n = parallel_threads(s->pages / PAGES_PER_WORKER + s->njobs / JOBS_PER_WORKER + 1,
	                              MAX_WORKERS);
	int r;

	q.nfiles = image_page_files(s->image);
	q.nfiles = n < q.nfiles ? n : q.nfiles;
	/* where all of it is written later, the files are made then, too */
	if ((!s->later || s->pages > LATE_PAGES) &&
	    (r = image_pages_begin(s->image, q.nfiles, err)) < 0)
		return r;
	r = run_copiers(&q, v, n, err);
	progress(NULL, 0, 0);
	if (r == 0)
		r = store_rest(&q, v, n, err);
	for (unsigned i = 0; i < n; i++) {
		if (r == 0)
			r = hand_over(&v[i], s, err);
		if (v[i].fd >= 0)
			close(v[i].fd);
		free(v[i].block);
		free(v[i].v);
	}
	return r;
}
