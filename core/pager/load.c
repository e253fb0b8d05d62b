/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading what nobody has asked for yet: first in the order in which an earlier start touched
 * it, then block after block of the image, by several threads. What has moved since they began,
 * and what forked children lack, comes last.
 */
#include <sys/resource.h>
#include "core/pager/priv.h"
#include "core/util/parallel.h"

#define THREADS_MAX 4
#define PIECE (128u << 10) /* copied at once: an event waits that long */

/* A part of one block of the image, and one of the places where it belongs. */
struct use { uint64_t offset, addr; uint32_t len, space; };
struct job { uint64_t offset; uint32_t len; };

struct loader {
	struct state *p;
	struct use *uses; unsigned nuses;  /* by offset */
	struct job *jobs; unsigned njobs;
	atomic_uint next, working;
	pthread_t threads[THREADS_MAX]; unsigned nthreads;
};

/* ---- what there is to do ---------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
	const struct use *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool add_uses(struct loader *l, unsigned space)
{
	const struct places *lacks = &l->p->v[space]->view.lacks;

	for (const struct span *s = places_from(lacks, 0); s; s = places_from(lacks, s->end))
		for (uint64_t at = s->start; at < s->end;) {
			uint64_t offset = s->val + (at - s->start);
			uint64_t len = source_block_end(&l->p->source, offset) - offset;
			if (len > s->end - at)
				len = s->end - at;
			if (!GROW(l->uses, l->nuses))
				return false;
			l->uses[l->nuses++] = (struct use){ offset, at, (uint32_t)len, space };
			at += len;
		}
	return true;
}

static bool add_job(struct loader *l, uint64_t offset, uint64_t len)
{
	if (!GROW(l->jobs, l->njobs))
		return false;
	l->jobs[l->njobs++] = (struct job){ offset, (uint32_t)len };
	return true;
}

static bool plan(struct loader *l)
{
	const struct state *p = l->p;
	const uint64_t length = pages_length(p->source.pages);
	uint64_t end = 0;
	bool ok = true;

	for (unsigned i = 0; i < p->n && ok; i++)
		ok = add_uses(l, i);
	if (l->nuses)
		qsort(l->uses, l->nuses, sizeof(*l->uses), by_offset);
	for (size_t i = 0; i < p->order.n && ok; i++) {
		uint64_t offset = (uint64_t)p->order.v[i] * ORDER_CHUNK;
		if (offset < length) {
			uint64_t left = source_block_end(&p->source, offset) - offset;
			ok = add_job(l, offset, left < ORDER_CHUNK ? left : ORDER_CHUNK);
		}
	}
	for (unsigned i = 0; i < l->nuses && ok; i++)
		if (l->uses[i].offset >= end) {
			end = source_block_end(&p->source, l->uses[i].offset);
			ok = add_job(l, l->uses[i].offset, end - l->uses[i].offset);
		}
	return ok;
}

/* ---- doing it ----------------------------------------------------------------------------- */

static void report(struct state *p, int r, struct crcore_error *err)
{
	if (!err->code)
		crcore_fail(err, r, "cannot put pages into the tree: %s", strerror(-r));
	note_failure(p, err);
}

/* Part of what was read of [offset, ...). */
static void put(struct state *p, const struct use *u, uint64_t from, uint64_t end,
                const uint8_t *bytes, uint64_t offset)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct timespec pause = { 0, 20000 };

	for (uint64_t at = from; at < end && !p->stop;) {
		size_t n = end - at < PIECE ? (size_t)(end - at) : PIECE;
		int r = copy_if_lacking(p, u->space, u->addr + (at - u->offset), at, bytes + (at - offset),
		                        n);
		if (r == -ESRCH) {
			(void)!write(p->wake[1], "", 1);
			return;
		}
		if (r == -EAGAIN || r == -ENOMEM) {
			nanosleep(&pause, NULL);
			continue;
		}
		if (r < 0) {
			report(p, r, &err);
			return;
		}
		at += n;
	}
}

/* The first use that ends in the block of offset, or behind it. */
static unsigned first_use(const struct loader *l, uint64_t block)
{
	unsigned a = 0, b = l->nuses;

	while (a < b) {
		unsigned m = (a + b) / 2;
		if (l->uses[m].offset < block)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

/* Does anybody lack any of it still? */
static bool is_wanted(struct state *p, const struct use *u, uint64_t from, uint64_t to)
{
	pthread_rwlock_rdlock(&p->events);
	pthread_mutex_lock(&p->lock);
	const struct space *s = p->v[u->space];
	const struct span *x = places_from(&s->view.lacks, u->addr + (from - u->offset));
	bool ret = x && x->start < u->addr + (to - u->offset);
	pthread_mutex_unlock(&p->lock);
	pthread_rwlock_unlock(&p->events);
	return ret;
}

static void do_job(struct loader *l, const struct job *j, uint8_t *buf)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	const uint64_t end = j->offset + j->len;
	const uint8_t *bytes = NULL;
	uint64_t block;
	size_t len;

	pages_block(l->p->source.pages, j->offset, &block, &len);
	for (unsigned i = first_use(l, block); i < l->nuses && l->uses[i].offset < end; i++) {
		const struct use *u = &l->uses[i];
		uint64_t from = u->offset > j->offset ? u->offset : j->offset;
		uint64_t to = u->offset + u->len < end ? u->offset + u->len : end;
		if (from >= to || !is_wanted(l->p, u, from, to))
			continue;
		if (!bytes && !(bytes = source_read(&l->p->source, j->offset, j->len, buf, &err))) {
			report(l->p, err.code, &err);
			return;
		}
		put(l->p, u, from, to, bytes, j->offset);
	}
}

/* One piece of what is lacking still, anywhere. */
static bool find_rest(struct state *p, struct use *ret)
{
	bool found = false;

	pthread_rwlock_rdlock(&p->events);
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n && !found; i++) {
		const struct span *s = p->v[i]->uffd >= 0 && !p->v[i]->gone ?
		                       places_from(&p->v[i]->view.lacks, 0) : NULL;
		if (!s)
			continue;
		uint64_t len = source_block_end(&p->source, s->val) - s->val;
		len = len < s->end - s->start ? len : s->end - s->start;
		*ret = (struct use){ s->val, s->start, (uint32_t)len, i };
		found = true;
	}
	pthread_mutex_unlock(&p->lock);
	pthread_rwlock_unlock(&p->events);
	return found;
}

static void do_rest(struct loader *l, uint8_t *buf)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct timespec pause = { 0, 1000000 };
	struct state *p = l->p;
	struct use u;

	while (!p->stop && !failed(p)) {
		if (!find_rest(p, &u)) {
			if (copy_collapse(p))
				continue;
			(void)!write(p->wake[1], "", 1);
			nanosleep(&pause, NULL); /* until we are told to stop: a fork may come */
			continue;
		}
		const uint8_t *bytes = source_read(&p->source, u.offset, u.len, buf, &err);
		if (bytes)
			put(p, &u, u.offset, u.offset + u.len, bytes, u.offset);
		else
			report(p, err.code, &err);
	}
}

static void *load(void *arg)
{
	struct loader *l = arg;
	uint8_t *buf = malloc(IMAGE_BLOCK);
	unsigned i;

	setpriority(PRIO_PROCESS, 0, 0); /* the tree runs: of us only the serving thread goes first */
	while (buf && !l->p->stop && !failed(l->p) && (i = atomic_fetch_add(&l->next, 1)) < l->njobs)
		do_job(l, &l->jobs[i], buf);
	/* The last of them does the rest; without memory the serving thread does it all. */
	if (atomic_fetch_sub(&l->working, 1) == 1 && buf)
		do_rest(l, buf);
	free(buf);
	return NULL;
}

int loader_start(struct state *p, struct loader **ret, struct crcore_error *err)
{
	struct loader *l = calloc(1, sizeof(*l));
	const unsigned want = parallel_threads(THREADS_MAX, THREADS_MAX);

	*ret = l;
	p->stop = false;
	if (!l)
		return crcore_no_memory(err);
	l->p = p;
	if (!plan(l)) {
		loader_stop(l);
		return crcore_no_memory(err);
	}
	atomic_init(&l->working, want);
	while (l->nthreads < want && !pthread_create(&l->threads[l->nthreads], NULL, load, l))
		l->nthreads++;
	if (l->nthreads == want)
		return 0;
	/* Those that there are do it: the last of them must know that it is. */
	if (atomic_fetch_sub(&l->working, want - l->nthreads) == want - l->nthreads) {
		loader_stop(l);
		return crcore_fail(err, -EAGAIN, "cannot make a thread");
	}
	return 0;
}

void loader_stop(struct loader *l)
{
	l->p->stop = true;
	while (l->nthreads)
		pthread_join(l->threads[--l->nthreads], NULL);
	free(l->uses);
	free(l->jobs);
	free(l);
}
