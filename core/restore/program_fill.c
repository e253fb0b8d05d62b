/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading pages into their place. Fills whose bytes lie one behind the other
 * in a page file go into one preadv(), whatever mappings they are in: so many
 * small mappings cost little, in at most 1024 pieces. A call reads at most 2 MiB: what it is to
 * fill is touched first, which takes a quarter less than if each page is missed while it is
 * copied to, and is still in the processor's cache then.
 *
 * What is much, or packed, is not read by the task: feed.c.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "core/restore/restore.h"

#define TOUCH_MIN (64u << 10) /* bytes of a piece that are worth a call of their own */
#define PIECES_MAX 1024

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

static int read_all(struct stub *s, const struct layout_fill *f, unsigned n,
                    struct crcore_error *err)
{
	struct batch b = { .r = s->r, .p = s->p };
	bool ok = true;

	for (unsigned i = 0; ok && i < n; i++)
		ok = add_fill(&b, f[i].addr, f[i].pages * PAGE, f[i].file_offset);
	flush(&b);
	for (unsigned i = 0; i < b.nfiles; i++)
		close_fd(s->p, b.files[i].op);
	free(b.files);
	return ok ? 0 : crcore_no_memory(err);
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

int fills_build(struct stub *s, const struct layout_fill *f, unsigned n, const struct fresh *fresh,
                struct crcore_error *err)
{
	struct fills own = { 0 };
	bool asked;
	int ret = feed_ask(s, f, n, fresh, &own, &asked, err);

	sort_fills(&own);
	if (ret == 0)
		ret = read_all(s, own.v, own.n, err);
	if (asked)
		feed_wait(s);
	free(own.v);
	return ret;
}
