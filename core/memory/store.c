/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies pages into the image: several workers, each with a buffer of one image
 * block that stays in its cache. A worker reads pages into what room its block
 * has left, throws out those that are all zero, and writes the block when it
 * is full; which block of the file that is, is decided only then. What is left
 * over in the end is put together; of a tree that runs the next round goes on there.
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

enum { PAGES_PER_WORKER = 4096, JOBS_PER_WORKER = 256,
       LATE_PAGES = (LATE_MAX - 2 * MAX_WORKERS) * (IMAGE_BLOCK / 4096) };

#define ANY_BLOCK UINT64_MAX /* the next of the file */

int store_add(struct store *s, struct source *src, uint64_t addr, uint64_t pages, bool gently,
              bool keep_zero, struct crcore_error *err)
{
	if (!GROW(s->jobs, s->njobs))
		return crcore_no_memory(err);
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

int store_note(struct copier *c, struct source *src, uint64_t addr, bool gone,
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
		return crcore_no_memory(err);
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
				r = store_note(c, b->job->source, addr + at, true, err);
				continue;
			}
			if (!b->job->keep_zero && is_zero(from)) {
				c->zero++;
				continue;
			}
			r = store_note(c, b->job->source, addr + at, false, err);
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

static uint64_t take_number(struct copier *c)
{
	struct queue *q = c->q;
	uint64_t number = c->number;

	c->number = ANY_BLOCK;
	if (number != ANY_BLOCK)
		return number;
	pthread_mutex_lock(&q->lock);
	number = q->store->blocks[c->file]++;
	pthread_mutex_unlock(&q->lock);
	return number;
}

static int flush(struct copier *c, size_t len, struct crcore_error *err)
{
	struct queue *q = c->q;
	uint64_t block = take_number(c);

	place(c, in_file(c->file, block * IMAGE_BLOCK));
	c->fill = 0;
	int r = store_put_off(c, block, len, err);
	if (r)
		return r < 0 ? r : 0;
	if (!c->thread) /* the calling thread's copier speaks for all */
		progress("dump: saving memory", block * (IMAGE_BLOCK / PAGE), q->store->pages);
	return image_pages_block(q->store->image, c->file, block, c->block, len, err);
}

static void *copy(void *arg)
{
	struct copier *c = arg;
	cleanup_free struct batch *b = malloc(sizeof(*b));

	uint64_t start = trace_start();

	c->r = b ? 0 : crcore_no_memory(&c->err);
	if (b)
		b->ngone = 1;
	while (c->r == 0 && take(c->q, (IMAGE_BLOCK - c->fill) / PAGE, b)) {
		c->r = leave_shared(c, b, &c->err);
		if (c->r == 0)
			c->r = read_batch(c, b, c->block + c->fill, &c->err);
		if (c->r == 0)
			c->r = take_in(c, b, &c->err);
		if (c->r == 0 && c->fill == IMAGE_BLOCK)
			c->r = flush(c, IMAGE_BLOCK, &c->err);
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

/* What one has left over goes into the block of another. */
static int move_rest(struct copier *to, struct copier *from, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = from->flushed; r == 0 && i < from->n; i++) {
		const struct stored *x = &from->v[i];
		for (uint64_t done = 0, k; r == 0 && done < x->pages; done += k) {
			uint64_t room = x->gone ? x->pages : (IMAGE_BLOCK - to->fill) / PAGE;
			k = x->pages - done < room ? x->pages - done : room;
			if (!GROW(to->v, to->n))
				return crcore_no_memory(err);
			to->v[to->n++] = (struct stored){ x->source, x->addr + done * PAGE, k,
				                          to->fill, x->gone };
			if (x->gone)
				continue;
			memcpy(to->block + to->fill, from->block + x->offset + done * PAGE, k * PAGE);
			to->fill += k * PAGE;
			if (to->fill == IMAGE_BLOCK)
				r = flush(to, IMAGE_BLOCK, err);
		}
	}
	from->n = from->flushed;
	return r;
}

/* Only the file's last block may be short. */
static int store_last(struct store *s, struct copier *c, struct crcore_error *err)
{
	uint64_t len = c->number == ANY_BLOCK || c->number + 1 == s->blocks[0] ? c->fill : IMAGE_BLOCK;

	memset(c->block + c->fill, 0, len - c->fill);
	s->short_by = IMAGE_BLOCK - len;
	return flush(c, len, err);
}

/* Puts what the copiers have left over together, in a block of the first file. */
static int store_rest(struct store *s, struct copier *v, unsigned n, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 1; r == 0 && i < n; i++)
		r = move_rest(&v[0], &v[i], err);
	if (r < 0 || !v[0].fill) {
		place(&v[0], 0); /* what is gone */
		return r;
	}
	if (!s->live)
		return store_last(s, &v[0], err);
	s->open.fill = v[0].fill;
	s->open.number = take_number(&v[0]);
	place(&v[0], in_file(0, s->open.number * IMAGE_BLOCK));
	s->open.block = STEAL(v[0].block);
	return 0;
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

static int prepare(struct queue *q, struct copier *v, unsigned n, struct crcore_error *err)
{
	struct store *s = q->store;

	for (unsigned i = 0; i < n; i++)
		v[i] = (struct copier){ .q = q, .file = i % q->nfiles, .number = ANY_BLOCK, .fd = -1,
			                .err = CRCORE_ERROR_INIT };
	if (s->open.block) {
		v[0].block = STEAL(s->open.block);
		v[0].number = s->open.number;
		v[0].fill = s->open.fill;
	}
	for (unsigned i = 0; i < n; i++)
		if (!v[i].block && !(v[i].block = store_block_get(s)))
			return crcore_no_memory(err);
	return 0;
}

/* The first worker is the calling thread. */
static int run_copiers(struct copier *v, unsigned n, struct crcore_error *err)
{
	unsigned started = 1;

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
	if ((r = prepare(&q, v, n, err)) == 0)
		r = run_copiers(v, n, err);
	progress(NULL, 0, 0);
	if (r == 0)
		r = store_rest(s, v, n, err);
	for (unsigned i = 0; i < n; i++) {
		if (r == 0)
			r = hand_over(&v[i], s, err);
		if (v[i].fd >= 0)
			close(v[i].fd);
		store_block_put(s, v[i].block);
		free(v[i].v);
	}
	return r;
}
