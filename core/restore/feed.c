/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that crcore puts into place: those that are packed, which a task cannot read itself, and
 * much memory, of which each block is then read, checked and copied while it is in the processor's
 * cache. The task asks for them and waits, and feeders, threads of the worker, take block after
 * block and write each into the task, wherever in its memory that block's pages belong. Any number
 * of feeders works for one task or for many; each has one block in its hands.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include "core/restore/feed_priv.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"

#define FEEDERS_MAX 8
#define PORTION_MAX 8
#define FEED_MIN (4ULL << 20) /* bytes; less is read sooner by the task than it is fed */

struct feeds {
	struct feed *v;
	unsigned n, first;        /* all before first are taken */
	uint64_t calls;           /* address of the word that every task that asks adds to */
	pthread_mutex_t lock;
	pthread_t threads[FEEDERS_MAX];
	unsigned nthreads;
	bool stop;
	int ret;
	struct crcore_error err;
};

/* ---- what is to be fed ------------------------------------------------------------------ */

static int by_offset(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool add_own(struct fills *own, const struct piece *p)
{
	if (!GROW(own->v, own->n))
		return false;
	own->v[own->n++] = (struct layout_fill){ p->addr, p->len / PAGE, p->offset };
	return true;
}

static bool add_piece(struct feed *f, const struct piece *p)
{
	if (!GROW(f->v, f->n))
		return false;
	f->v[f->n++] = *p;
	return true;
}

bool feed_takes(const struct layout_fill *v, unsigned n)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < n; i++)
		pages += v[i].pages;
	return pages * PAGE >= FEED_MIN;
}

/* The first piece of [addr, addr + len); fed: cut at blocks and zones. */
static struct piece first_piece(const struct restore *r, uint64_t addr, uint64_t len,
                                uint64_t offset, bool fed, const struct zones *z)
{
	struct piece p = { .addr = addr, .offset = offset, .len = len };
	uint64_t start, end;
	size_t block;

	if (!fed)
		return p;
	struct zone *zone = zones_at(z, addr, &end);
	if (zone)
		zone->used = p.fresh = true;
	if (p.len > end - addr)
		p.len = end - addr;
	pages_block(r->pages, offset, &start, &block);
	p.block_end = start + block;
	if (p.len > p.block_end - offset)
		p.len = p.block_end - offset;
	return p;
}

/* much: plain ones are fed too. */
static bool divide(struct restore *r, const struct layout_fill *fill, bool much,
                   const struct zones *z, struct fills *own, struct feed *f)
{
	uint64_t addr = fill->addr, offset = fill->file_offset, len = fill->pages * PAGE;
	bool ok = true;

	while (ok && len) {
		uint64_t at, most;
		const bool fed = pages_plain(r->pages, offset, &at, &most) < 0 || much;
		const struct piece p = first_piece(r, addr, most < len ? most : len, offset, fed, z);
		ok = fed ? add_piece(f, &p) : add_own(own, &p);
		addr += p.len;
		offset += p.len;
		len -= p.len;
	}
	return ok;
}

static struct feeds *feeds_of(struct restore *r)
{
	if (!r->feeds && (r->feeds = calloc(1, sizeof(*r->feeds)))) {
		r->feeds->calls = arena_word(&r->arena);
		pthread_mutex_init(&r->feeds->lock, NULL);
	}
	return r->feeds;
}

static int divide_all(struct stub *s, const struct layout_fill *fills, unsigned n,
                      const struct fresh *fresh, struct fills *own, struct feed *f,
                      struct crcore_error *err)
{
	const bool much = feed_takes(fills, n);
	struct zones z = { 0 };
	int ret = much ? zones_find(s->r, fresh, &z, err) : 0;

	for (unsigned i = 0; ret == 0 && i < n; i++)
		if (!divide(s->r, &fills[i], much, &z, own, f))
			ret = crcore_no_memory(err);
	if (ret == 0)
		ret = feed_plan_watch(f, &z, err);
	free(z.v);
	return ret;
}

static void feed_free(struct feed *f)
{
	feed_unwatch(f);
	free(f->ranges);
	free(f->v);
}

int feed_ask(struct stub *s, const struct layout_fill *fills, unsigned n, const struct fresh *fresh,
             struct fills *own, bool *ret_asked, struct crcore_error *err)
{
	struct restore *r = s->r;
	struct feed f = { .stub = s, .op = UINT32_MAX, .uffd = -1 };
	int ret = divide_all(s, fills, n, fresh, own, &f, err);

	*ret_asked = f.n;
	if (ret == 0 && !f.n)
		return 0;
	struct feeds *all = ret == 0 ? feeds_of(r) : NULL;
	if (!all || !GROW(all->v, all->n)) {
		feed_free(&f);
		return ret < 0 ? ret : crcore_no_memory(err);
	}
	qsort(f.v, f.n, sizeof(*f.v), by_offset);
	f.left = f.n;
	for (unsigned i = 0; i < f.n; i++)
		f.bytes += f.v[i].len;
	f.asked = arena_word(&r->arena);
	f.fed = arena_word(&r->arena);
	all->v[all->n++] = f;
	OP(s->p, "ask for pages", OP_POST, EXPECT_ANY, 0, IMM(f.asked), IMM(1));
	OP(s->p, "call the feeders", OP_POST, EXPECT_ANY, 0, IMM(all->calls), IMM(1));
	return 0;
}

void feed_wait(struct stub *s)
{
	struct feed *f = &s->r->feeds->v[s->r->feeds->n - 1];

	OP(s->p, "wait for pages", OP_WAIT, EXPECT_ANY, 0, IMM(f->fed), IMM(1));
	feed_plan_end(f);
}

/* ---- feeding ---------------------------------------------------------------------------- */

static void post(struct restore *r, uint64_t word)
{
	uint32_t *at = arena_local(&r->arena, word);

	__atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, at, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static uint32_t word_of(struct restore *r, uint64_t word)
{
	return __atomic_load_n((uint32_t *)arena_local(&r->arena, word), __ATOMIC_SEQ_CST);
}

/* How many blocks one feeder takes at once: else several would fill one huge page, or one page of
 * page tables, at the same time. Towards the end fewer, so that all end together. */
static unsigned portion(const struct feeds *all, const struct feed *f)
{
	const uint64_t n = f->bytes / IMAGE_BLOCK / (4 * (all->nthreads + 1));

	return n > PORTION_MAX ? PORTION_MAX : n ? (unsigned)n : 1;
}

/* The end of the pieces that are in the same block as that. */
static unsigned block_end(const struct feed *f, unsigned from, unsigned end)
{
	unsigned to = from + 1;

	while (to < end && f->v[to].block_end == f->v[from].block_end)
		to++;
	return to;
}

/* Takes all pieces of the next blocks that somebody waits for; the caller has the lock. */
static struct feed *take(struct restore *r, unsigned *ret_from, unsigned *ret_to)
{
	struct feeds *all = r->feeds;

	while (all->first < all->n && all->v[all->first].next == all->v[all->first].n)
		all->first++;
	for (unsigned i = all->first; i < all->n; i++) {
		struct feed *f = &all->v[i];
		if (f->next == f->n || !word_of(r, f->asked))
			continue;
		if (!f->next)
			feed_watch(f);
		*ret_from = f->next;
		for (unsigned k = portion(all, f); k && f->next < f->n; k--)
			f->next = block_end(f, f->next, f->n);
		*ret_to = f->next;
		for (unsigned k = *ret_from; k < *ret_to; k++)
			f->bytes -= f->v[k].len;
		return f;
	}
	return NULL;
}

static int feed_block(struct restore *r, const struct feed *f, unsigned from, unsigned to,
                      uint8_t *block, struct crcore_error *err)
{
	const uint8_t *bytes;
	uint64_t base = f->v[from].offset, end = base;

	for (unsigned i = from; i < to; i++)
		if (f->v[i].offset + f->v[i].len > end)
			end = f->v[i].offset + f->v[i].len;
	int ret = pages_read_part(r->pages, base, end - base, block, &bytes, err);
	return ret < 0 ? ret : feed_place(f, from, to, bytes, base, err);
}

static int feed_blocks(struct restore *r, const struct feed *f, unsigned from, unsigned to,
                       uint8_t *block, struct crcore_error *err)
{
	int ret = 0;

	while (from < to && ret == 0) {
		const unsigned next = block_end(f, from, to);
		ret = feed_block(r, f, from, next, block, err);
		from = next;
	}
	return ret;
}

/* Ends without work only when all is taken, or it is told to. */
static void wait_for_calls(struct restore *r, uint32_t seen)
{
	syscall(SYS_futex, arena_local(&r->arena, r->feeds->calls), FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void failed(struct restore *r, int ret, const struct crcore_error *err)
{
	struct feeds *all = r->feeds;

	if (all->ret == 0) {
		all->ret = ret;
		all->err = *err;
	}
	all->stop = true;
	post(r, all->calls);
	/* whoever waits for the tree looks up */
	syscall(SYS_futex, &arena_region(&r->arena)->failed, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void *feeder(void *arg)
{
	struct restore *r = arg;
	struct feeds *all = r->feeds;
	struct crcore_error err = CRCORE_ERROR_INIT;
	cleanup_free uint8_t *block = malloc(IMAGE_BLOCK);
	uint64_t start = trace_start();

	pthread_mutex_lock(&all->lock);
	if (!block)
		failed(r, crcore_no_memory(&err), &err);
	while (!all->stop) {
		unsigned from, to;
		uint32_t calls = word_of(r, all->calls);
		struct feed *f = take(r, &from, &to);
		if (!f && all->first == all->n)
			break;
		pthread_mutex_unlock(&all->lock);
		int ret = f ? feed_blocks(r, f, from, to, block, &err) : 0;
		if (!f)
			wait_for_calls(r, calls);
		pthread_mutex_lock(&all->lock);
		if (ret < 0)
			failed(r, ret, &err);
		else if (f && !(f->left -= to - from)) {
			feed_unwatch(f);
			post(r, f->fed);
		}
	}
	pthread_mutex_unlock(&all->lock);
	trace_end(start, TRACE_HERE, "memory", "feed pages");
	return NULL;
}

int feeds_begin(struct restore *r, struct crcore_error *err)
{
	const unsigned n = parallel_threads(FEEDERS_MAX, FEEDERS_MAX);
	struct feeds *all = r->feeds;
	sigset_t every, old;

	if (!all)
		return 0;
	sigfillset(&every);
	pthread_sigmask(SIG_BLOCK, &every, &old);
	while (all->nthreads < n && !pthread_create(&all->threads[all->nthreads], NULL, feeder, r))
		all->nthreads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return all->nthreads ? 0 : crcore_fail(err, -EAGAIN, "cannot start a thread to feed pages");
}

int feeds_failure(struct restore *r, struct crcore_error *err)
{
	struct feeds *all = r->feeds;

	if (!all)
		return 0;
	pthread_mutex_lock(&all->lock);
	int ret = all->ret;
	if (ret < 0 && err && !err->code)
		*err = all->err;
	pthread_mutex_unlock(&all->lock);
	return ret;
}

void feeds_end(struct restore *r)
{
	struct feeds *all = r->feeds;

	if (!all || !all->nthreads)
		return;
	pthread_mutex_lock(&all->lock);
	all->stop = true;
	post(r, all->calls);
	pthread_mutex_unlock(&all->lock);
	while (all->nthreads)
		pthread_join(all->threads[--all->nthreads], NULL);
}

void feeds_free(struct restore *r)
{
	for (unsigned i = 0; r->feeds && i < r->feeds->n; i++)
		feed_free(&r->feeds->v[i]);
	if (r->feeds) {
		pthread_mutex_destroy(&r->feeds->lock);
		free(r->feeds->v);
	}
	free(r->feeds);
}
