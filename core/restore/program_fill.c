/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading pages into their place. Fills whose bytes lie one behind the other
 * in a page file go into one preadv(), whatever mappings they are in: so many
 * small mappings cost little, in at most 1024 pieces. A call reads at most 2 MiB: what it is to
 * fill is touched first, which takes a quarter less than if each page is missed while it is
 * copied to, and is still in the processor's cache then.
 *
 * Much is read by several threads: loaders, which exit when they are done. They
 * are threads because those share the address space and end without a trace.
 *
 * What is packed is not read by the task: feed.c.
 */
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "core/restore/restore.h"
#include "core/util/parallel.h"

#define TOUCH_MIN (64u << 10) /* bytes of a piece that are worth a call of their own */
#define PIECES_MAX 1024
#define LOADER_MIN (64ULL << 20) /* bytes that are worth a thread */
#define LOADERS_MAX 8

struct batch {
	struct restore *r;
	prog *p;
	struct fetched { int fd; uint32_t op; } *files; /* page files that the task has by now */
	unsigned nfiles;
	uint32_t file;        /* operation that fetched the one to read */
	struct iovec v[PIECES_MAX];
	unsigned n;
	uint64_t offset, len; /* in the file */
};

/* The operation that fetched a page file, the same for all of a batch's reads of it. */
static bool fetch(struct batch *b, int fd, uint32_t *ret_op)
{
	unsigned i = b->nfiles;

	while (i && b->files[i - 1].fd != fd)
		i--;
	if (!i) {
		if (!GROW(b->files, b->nfiles))
			return false;
		b->files[b->nfiles++] = (struct fetched){ fd, fetch_fd(b->r, b->p, "fetch page file", fd) };
		i = b->nfiles;
	}
	*ret_op = b->files[i - 1].op;
	return true;
}

/* Gives pages to what is to be read into. If the kernel does not (it is older than 5.14), the read
 * does; and if it cannot, that says why. */
static void touch(const struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->v[i].iov_len >= TOUCH_MIN)
			CALL(b->p, "touch memory", SYS_madvise, EXPECT_ANY, 0,
			     IMM((uintptr_t)b->v[i].iov_base), IMM(b->v[i].iov_len),
			     IMM(MADV_POPULATE_WRITE));
}

static void flush(struct batch *b)
{
	touch(b);
	if (b->n)
		CALL(b->p, "read pages", SYS_preadv, EXPECT_EQUAL, (int64_t)b->len, RESULT(b->file),
		     DATA(prog_data(b->p, b->v, b->n * sizeof(*b->v))), IMM(b->n), IMM(b->offset),
		     IMM(0));
	b->n = 0;
	b->len = 0;
}

static void add(struct batch *b, uint64_t addr, uint64_t len, uint32_t file, uint64_t offset)
{
	struct iovec *last = b->n ? &b->v[b->n - 1] : NULL;

	if (b->n && (file != b->file || offset != b->offset + b->len || b->len == FILL_CALL))
		flush(b);
	if (b->n && (uint64_t)(uintptr_t)last->iov_base + last->iov_len == addr) {
		last->iov_len += len;
	} else {
		if (b->n == PIECES_MAX)
			flush(b);
		b->v[b->n++] = (struct iovec){ (void *)(uintptr_t)addr, len };
	}
	if (!b->len) {
		b->file = file;
		b->offset = offset;
	}
	b->len += len;
}

/* One fill, or a part of it, cut where calls and page files end. */
static bool add_fill(struct batch *b, uint64_t addr, uint64_t len, uint64_t offset)
{
	while (len) {
		uint64_t at, piece, room = FILL_CALL - (b->len % FILL_CALL);
		uint32_t file;
		if (!fetch(b, pages_plain(b->r->pages, offset, &at, &piece), &file))
			return false;
		piece = piece < room ? piece : room;
		piece = piece < len ? piece : len;
		add(b, addr, piece, file, at);
		addr += piece;
		offset += piece;
		len -= piece;
	}
	return true;
}

/* The part [from, to) of all bytes, counted over the fills. */
static int read_part(struct restore *r, prog *p, const struct layout_fill *f, unsigned n,
                     uint64_t from, uint64_t to, struct crcore_error *err)
{
	struct batch b = { .r = r, .p = p };
	uint64_t at = 0;
	bool ok = true;

	for (unsigned i = 0; ok && i < n && at < to; at += f[i].pages * PAGE, i++) {
		uint64_t skip = from > at ? from - at : 0, end = to - at;
		if (end > f[i].pages * PAGE)
			end = f[i].pages * PAGE;
		if (skip < end)
			ok = add_fill(&b, f[i].addr + skip, end - skip, f[i].file_offset + skip);
	}
	flush(&b);
	for (unsigned i = 0; i < b.nfiles; i++)
		close_fd(p, b.files[i].op);
	free(b.files);
	return ok ? 0 : births_no_memory(err);
}

/* A thread that reads one part, tells it by a word, and exits. */
static int loader(struct stub *s, const struct layout_fill *f, unsigned n, uint64_t from,
                  uint64_t to, uint64_t word, struct crcore_error *err)
{
	struct restore *r = s->r;
	pid_t tid = pids_free(r);
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
		.set_tid = arena_put(&r->arena, &tid, sizeof(tid)),
		.set_tid_size = 1,
	};
	uint64_t at = 0;
	prog *p = GROW(s->loaders, s->nloaders) ? prog_new() : NULL;

	if (!p)
		return births_no_memory(err);
	s->loaders[s->nloaders++] = (struct loader){ p, tid };
	int ret = read_part(r, p, f, n, from, to, err);
	OP(p, "report to leader", OP_POST, EXPECT_ANY, 0, IMM(word), IMM(1));
	CALL(p, "exit thread", SYS_exit, EXPECT_ANY, 0, IMM(0));
	if (ret == 0)
		ret = arena_place(&r->arena, p, &at, err);
	OP(s->p, "clone loader", OP_SPAWN, EXPECT_EQUAL, tid,
	   DATA(prog_data(s->p, &args, sizeof(args))), IMM(sizeof(args)), IMM(at));
	return ret;
}

static int read_all(struct stub *s, const struct layout_fill *f, unsigned n,
                    struct crcore_error *err)
{
	uint64_t total = 0, word = 0;
	int ret = 0;

	for (unsigned i = 0; i < n; i++)
		total += f[i].pages * PAGE;
	if (!total)
		return 0;
	const unsigned parts = parallel_threads(total / LOADER_MIN, LOADERS_MAX);
	const uint64_t size = ALIGN_UP(total / parts, PAGE);
	if (parts > 1)
		word = arena_word(&s->r->arena);
	for (unsigned k = 1; k < parts && ret == 0; k++)
		ret = loader(s, f, n, k * size, k + 1 == parts ? total : (k + 1) * size, word, err);
	if (ret == 0)
		ret = read_part(s->r, s->p, f, n, 0, parts > 1 ? size : total, err);
	if (parts > 1)
		OP(s->p, "wait for loaders", OP_WAIT, EXPECT_ANY, 0, IMM(word), IMM(parts - 1));
	return ret;
}

static int by_offset(const void *a, const void *b)
{
	const struct layout_fill *x = a, *y = b;

	return x->file_offset < y->file_offset ? -1 : x->file_offset > y->file_offset;
}

/* In an image made on others, neighbours in memory may lie in any of their files: in the order
 * of the files there are fewer and larger reads. */
static void sort_fills(struct fills *f)
{
	unsigned i = 1;

	while (i < f->n && f->v[i - 1].file_offset <= f->v[i].file_offset)
		i++;
	if (i < f->n)
		qsort(f->v, f->n, sizeof(*f->v), by_offset);
}

int fills_build(struct stub *s, const struct layout_fill *f, unsigned n, struct crcore_error *err)
{
	struct fills plain = { 0 };
	uint64_t fed;
	int ret = feed_ask(s, f, n, &plain, &fed, err);

	sort_fills(&plain);
	if (ret == 0)
		ret = read_all(s, plain.v, plain.n, err);
	if (fed)
		OP(s->p, "wait for packed pages", OP_WAIT, EXPECT_ANY, 0, IMM(fed), IMM(1));
	free(plain.v);
	return ret;
}
