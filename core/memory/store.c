/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies pages into the image: several workers, each with a buffer of one image
 * block that stays in its cache. A worker reads pages into what room its block
 * has left, throws out those that are all zero, and writes the block when it
 * is full; which block of the file that is, is decided only then. What is left
 * over in the end is put together and written last.
 *
 * process_vm_readv pins what it reads, and pinning a page that is shared
 * copy-on-write makes the kernel give the task a copy of its own: a dump would
 * double the memory of a tree that goes on. Such pages (and those that the task
 * itself may not read) are read through /proc/PID/mem, which only takes a look.
 *
 * Measured: a block of 1 MiB is as fast as any larger; two workers on two
 * processors nearly halve the time, since the kernel copies on both sides.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/uio.h>
#include "core/memory/pagemap_scan.h"
#include "core/memory/save_priv.h"
#include "core/util/progress.h"
#include "core/util/worker.h"

enum { BLOCK_PAGES = IMAGE_BLOCK / 4096, MAX_WORKERS = 8, PAGES_PER_WORKER = 4096 };

struct stored { struct source *source; uint64_t addr, pages, offset; };

struct queue {
	struct store *store;
	int fd;                  /* of the bulk file */
	pthread_mutex_t lock;
	size_t job;              /* next, and how much of it was taken */
	uint64_t taken;
	uint64_t blocks;         /* written */
	bool stop;
};

struct copier {
	struct queue *q;
	char *block;
	uint64_t fill;           /* bytes in it */
	struct stored *v; size_t n, flushed;
	uint64_t zero, stored;
	struct source *open;     /* of fd */
	int fd;
	int r;
	struct crcore_error err;
	pthread_t thread;
};

struct batch {
	const struct job *job;   /* the first; all are of its sort */
	struct iovec from[BLOCK_PAGES];
	unsigned n;
	uint64_t pages;
};

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

/* ---- reading --------------------------------------------------------------------------- */

static int open_source(struct copier *c, struct source *src, struct crcore_error *err)
{
	if (!src->mm && !src->task)
		return src->fd;
	if (c->open == src)
		return c->fd;
	if (c->fd >= 0)
		close(c->fd);
	c->open = NULL;
	c->fd = src->mm ? openat(src->mm->task->proc, "mem", O_RDONLY | O_CLOEXEC) :
	                  openat(src->task->proc, src->map_file, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0)
		return crcore_fail(err, -errno, "cannot open %s: %s",
		                   src->mm ? "/proc/PID/mem" : src->map_file, strerror(errno));
	c->open = src;
	return c->fd;
}

/* Reads what process_vm_readv cannot or must not, and segments. */
static int read_file(struct copier *c, const struct batch *b, uint64_t done, char *to,
                     struct crcore_error *err)
{
	struct source *src = b->job->source;
	int fd = open_source(c, src, err);

	if (fd < 0)
		return fd;
	for (unsigned i = 0; i < b->n; i++) {
		uint64_t len = b->from[i].iov_len, at = (uint64_t)(uintptr_t)b->from[i].iov_base;
		uint64_t skip = done < len ? done : len;
		done -= skip;
		while (skip < len) {
			ssize_t n = pread(fd, to, len - skip, (off_t)(at + skip));
			if (n <= 0 && !src->mm && n == 0) { /* past the end of a segment's last page */
				memset(to, 0, len - skip);
				n = (ssize_t)(len - skip);
			}
			if (n <= 0) {
				int e = n < 0 ? errno : EIO;
				const struct task *t = src->mm ? src->mm->task : src->task;
				crcore_fail_at(err, t ? t->abi.pid : -1, -1, "memory at %llx",
				               (unsigned long long)(at + skip));
				return crcore_fail(err, -e, "cannot be read: %s", strerror(e));
			}
			skip += (uint64_t)n;
			to += n;
		}
	}
	return 0;
}

static int read_batch(struct copier *c, struct batch *b, char *to, struct crcore_error *err)
{
	struct source *src = b->job->source;
	ssize_t n = 0;

	if (src->mm && !b->job->gently) {
		struct iovec local = { to, b->pages * PAGE };
		n = process_vm_readv(src->mm->task->abi.pid, &local, 1, b->from, b->n, 0);
		if (n == (ssize_t)(b->pages * PAGE))
			return 0;
		if (n < 0)
			n = 0;
	}
	return read_file(c, b, (uint64_t)n, to + n, err);
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

static int note(struct copier *c, struct source *src, uint64_t addr, struct crcore_error *err)
{
	struct stored *last = c->n > c->flushed ? &c->v[c->n - 1] : NULL;

	c->stored++;
	if (last && last->source == src && last->addr + last->pages * PAGE == addr) {
		last->pages++;
		return 0;
	}
	if (!GROW(c->v, c->n))
		return memory_enomem(err);
	c->v[c->n++] = (struct stored){ src, addr, 1, c->fill };
	return 0;
}

/* Closes up the pages of a batch that was read to the end of the block. */
static int take_in(struct copier *c, const struct batch *b, struct crcore_error *err)
{
	char *from = c->block + c->fill;
	int r = 0;

	for (unsigned i = 0; i < b->n; i++) {
		uint64_t addr = (uint64_t)(uintptr_t)b->from[i].iov_base;
		for (uint64_t at = 0; r == 0 && at < b->from[i].iov_len; at += PAGE, from += PAGE) {
			if (!b->job->keep_zero && is_zero(from)) {
				c->zero++;
				continue;
			}
			r = note(c, b->job->source, addr + at, err);
			if (from != c->block + c->fill)
				memcpy(c->block + c->fill, from, PAGE);
			c->fill += PAGE;
		}
	}
	return r;
}

/* The offsets of what was noted since the last time are from base on. */
static void place(struct copier *c, uint64_t base)
{
	for (; c->flushed < c->n; c->flushed++)
		c->v[c->flushed].offset += base;
}

static int flush(struct copier *c, struct crcore_error *err)
{
	struct queue *q = c->q;

	pthread_mutex_lock(&q->lock);
	uint64_t block = q->blocks++;
	pthread_mutex_unlock(&q->lock);
	place(c, block * IMAGE_BLOCK);
	c->fill = 0;
	if (!c->thread) /* the calling thread's copier speaks for all */
		progress("dump: saving memory", block * (IMAGE_BLOCK / PAGE), q->store->pages);
	return image_bulk_block(q->store->image, q->fd, block, c->block, IMAGE_BLOCK, err);
}

static void *copy(void *arg)
{
	struct copier *c = arg;
	cleanup_free struct batch *b = malloc(sizeof(*b));

	c->r = b ? 0 : memory_enomem(&c->err);
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
	return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Puts the left-over parts of all blocks together behind the full ones. */
static int store_rest(struct queue *q, struct copier *v, unsigned n, struct crcore_error *err)
{
	cleanup_free char *rest = malloc((size_t)n * IMAGE_BLOCK);
	uint64_t len = 0;
	int r = 0;

	if (!rest)
		return memory_enomem(err);
	for (unsigned i = 0; i < n; i++) {
		place(&v[i], q->blocks * IMAGE_BLOCK + len);
		memcpy(rest + len, v[i].block, v[i].fill);
		len += v[i].fill;
	}
	for (uint64_t at = 0; r == 0 && at < len; at += IMAGE_BLOCK)
		r = image_bulk_block(q->store->image, q->fd, q->blocks++, rest + at,
		                     len - at < IMAGE_BLOCK ? len - at : IMAGE_BLOCK, err);
	return r;
}

static int hand_over(const struct copier *c, struct store *s, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++)
		r = runs_add(c->v[i].source->runs, c->v[i].addr, c->v[i].pages,
		             CRCORE__SOURCE__PAGES, c->v[i].offset, 0, err);
	s->zero += c->zero;
	s->stored += c->stored;
	return r;
}

static unsigned worker_count(uint64_t pages)
{
	cpu_set_t cpus;
	uint64_t n = pages / PAGES_PER_WORKER + 1;
	uint64_t have = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (uint64_t)CPU_COUNT(&cpus);

	n = n < have ? n : have;
	return n < MAX_WORKERS ? (unsigned)n : MAX_WORKERS;
}

/* The first worker is the calling thread. */
static int run_copiers(struct queue *q, struct copier *v, unsigned n, struct crcore_error *err)
{
	unsigned started = 1;

	for (unsigned i = 0; i < n; i++)
		v[i] = (struct copier){ .q = q, .fd = -1, .err = CRCORE_ERROR_INIT };
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
	unsigned n = worker_count(s->pages);
	int r;

	q.fd = image_bulk(s->image, "pages-1.bin", err);
	if (q.fd < 0)
		return q.fd;
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
