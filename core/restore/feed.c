/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed pages: a task cannot read them into their place itself, so it asks for them and
 * waits, and feeders, threads of the worker, unpack block after block and write each into
 * the task, wherever in its memory that block's pages belong. Any number of feeders works
 * for one task or for many; each has one unpacked block in its hands.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "core/restore/restore.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"

#define FEEDERS_MAX 8
#define WRITE_MAX 512 /* pieces of one call */

/* Bytes of one block that belong together. */
struct piece { uint64_t addr, offset, len, block_end; };

/* What one task asks for at one moment. */
struct feed {
	pid_t pid;
	uint64_t asked, fed;      /* addresses of words */
	struct piece *v;          /* by offset */
	unsigned n, next, left;   /* next to take; not written yet */
};

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

static bool add_plain(struct fills *plain, uint64_t addr, uint64_t len, uint64_t offset)
{
	if (!GROW(plain->v, plain->n))
		return false;
	plain->v[plain->n++] = (struct layout_fill){ addr, len / PAGE, offset };
	return true;
}

static bool add_packed(struct feed *f, uint64_t addr, uint64_t len, uint64_t offset,
                       uint64_t block_end)
{
	if (!GROW(f->v, f->n))
		return false;
	f->v[f->n++] = (struct piece){ addr, offset, len, block_end };
	return true;
}

static bool divide(struct restore *r, const struct layout_fill *fill, struct fills *plain,
                   struct feed *f)
{
	uint64_t at, piece, addr = fill->addr, offset = fill->file_offset, len = fill->pages * PAGE;
	bool ok = true;

	for (; ok && len; addr += piece, offset += piece, len -= piece) {
		bool packed = pages_plain(r->pages, offset, &at, &piece) < 0;
		uint64_t end = offset + piece;
		piece = piece < len ? piece : len;
		ok = packed ? add_packed(f, addr, piece, offset, end) :
		              add_plain(plain, addr, piece, offset);
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

int feed_ask(struct stub *s, const struct layout_fill *fills, unsigned n, struct fills *plain,
             uint64_t *ret_fed, struct crcore_error *err)
{
	struct restore *r = s->r;
	struct feed f = { .pid = r->births.v[s->birth].pid };
	bool ok = true;

	*ret_fed = 0;
	for (unsigned i = 0; ok && i < n; i++)
		ok = divide(r, &fills[i], plain, &f);
	if (ok && !f.n)
		return 0;
	struct feeds *all = ok ? feeds_of(r) : NULL;
	if (!all || !GROW(all->v, all->n)) {
		free(f.v);
		return births_no_memory(err);
	}
	qsort(f.v, f.n, sizeof(*f.v), by_offset);
	f.left = f.n;
	f.asked = arena_word(&r->arena);
	f.fed = arena_word(&r->arena);
	all->v[all->n++] = f;
	OP(s->p, "ask for packed pages", OP_POST, EXPECT_ANY, 0, IMM(f.asked), IMM(1));
	OP(s->p, "call the feeders", OP_POST, EXPECT_ANY, 0, IMM(all->calls), IMM(1));
	*ret_fed = f.fed;
	return 0;
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

/* Takes all pieces of the next block that somebody waits for; the caller has the lock. */
static struct feed *take(struct restore *r, unsigned *ret_from, unsigned *ret_to)
{
	struct feeds *all = r->feeds;

	while (all->first < all->n && all->v[all->first].next == all->v[all->first].n)
		all->first++;
	for (unsigned i = all->first; i < all->n; i++) {
		struct feed *f = &all->v[i];
		if (f->next == f->n || !word_of(r, f->asked))
			continue;
		*ret_from = f->next;
		while (f->next < f->n && f->v[f->next].block_end == f->v[*ret_from].block_end)
			f->next++;
		*ret_to = f->next;
		return f;
	}
	return NULL;
}

static int write_pieces(const struct feed *f, unsigned from, unsigned to, char *block,
                        uint64_t base, struct crcore_error *err)
{
	struct iovec local[WRITE_MAX], remote[WRITE_MAX];

	while (from < to) {
		unsigned n = 0;
		ssize_t len = 0;
		for (; from < to && n < WRITE_MAX; from++, n++) {
			const struct piece *p = &f->v[from];
			local[n] = (struct iovec){ block + (p->offset - base), p->len };
			remote[n] = (struct iovec){ (void *)(uintptr_t)p->addr, p->len };
			len += (ssize_t)p->len;
		}
		ssize_t done = process_vm_writev(f->pid, local, n, remote, n, 0);
		if (done != len) {
			crcore_fail_at(err, f->pid, -1, "task %d", f->pid);
			return crcore_fail(err, done < 0 ? -errno : -EFAULT, "cannot write its pages: %s",
			                   strerror(done < 0 ? errno : EFAULT));
		}
	}
	return 0;
}

static int feed_block(struct restore *r, const struct feed *f, unsigned from, unsigned to,
                      char *block, struct crcore_error *err)
{
	uint64_t base = f->v[from].offset, end = base;

	for (unsigned i = from; i < to; i++)
		if (f->v[i].offset + f->v[i].len > end)
			end = f->v[i].offset + f->v[i].len;
	int ret = pages_read(r->pages, base, block, end - base, err);
	return ret < 0 ? ret : write_pieces(f, from, to, block, base, err);
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
	cleanup_free char *block = malloc(IMAGE_BLOCK);
	uint64_t start = trace_start();

	pthread_mutex_lock(&all->lock);
	if (!block)
		failed(r, births_no_memory(&err), &err);
	while (!all->stop) {
		unsigned from, to;
		uint32_t calls = word_of(r, all->calls);
		struct feed *f = take(r, &from, &to);
		if (!f && all->first == all->n)
			break;
		pthread_mutex_unlock(&all->lock);
		int ret = f ? feed_block(r, f, from, to, block, &err) : 0;
		if (!f)
			wait_for_calls(r, calls);
		pthread_mutex_lock(&all->lock);
		if (ret < 0)
			failed(r, ret, &err);
		else if (f && !(f->left -= to - from))
			post(r, f->fed);
	}
	pthread_mutex_unlock(&all->lock);
	trace_end(start, TRACE_HERE, "memory", "unpack pages");
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
	return all->nthreads ? 0 : crcore_fail(err, -EAGAIN, "cannot start a thread to unpack pages");
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
		free(r->feeds->v[i].v);
	if (r->feeds) {
		pthread_mutex_destroy(&r->feeds->lock);
		free(r->feeds->v);
	}
	free(r->feeds);
}
