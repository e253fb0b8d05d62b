/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading pages into their place. Fills whose bytes lie one behind the other
 * in the page file go into one preadv(), whatever mappings they are in: so many
 * small mappings cost little. A call reads at most 1 GiB (the kernel: 2 GiB
 * less a page) in at most 1024 pieces.
 */
#include <sys/syscall.h>
#include <sys/uio.h>
#include "core/restore/restore.h"

#define CALL_MAX (1ULL << 30)
#define PIECES_MAX 1024

struct batch {
	struct stub *s;
	uint32_t fd;          /* operation that fetched the page file */
	struct iovec v[PIECES_MAX];
	unsigned n;
	uint64_t offset, len; /* in the file */
};

static void flush(struct batch *b)
{
	if (b->n)
		CALL(b->s->p, "read pages", SYS_preadv, EXPECT_EQUAL, (int64_t)b->len, RESULT(b->fd),
		     DATA(prog_data(b->s->p, b->v, b->n * sizeof(*b->v))), IMM(b->n), IMM(b->offset),
		     IMM(0));
	b->n = 0;
	b->len = 0;
}

static void add(struct batch *b, uint64_t addr, uint64_t len, uint64_t offset)
{
	struct iovec *last = b->n ? &b->v[b->n - 1] : NULL;

	if (b->n && (offset != b->offset + b->len || b->len == CALL_MAX))
		flush(b);
	if (b->n && (uint64_t)(uintptr_t)last->iov_base + last->iov_len == addr) {
		last->iov_len += len;
	} else {
		if (b->n == PIECES_MAX)
			flush(b);
		b->v[b->n++] = (struct iovec){ (void *)(uintptr_t)addr, len };
	}
	if (!b->len)
		b->offset = offset;
	b->len += len;
}

void fills_build(struct stub *s, const struct layout_fill *f, unsigned n)
{
	struct batch b = { .s = s };

	if (!n)
		return;
	b.fd = fetch_fd(s->r, s->p, "fetch page file", s->r->pages_fd);
	for (unsigned i = 0; i < n; i++) {
		uint64_t addr = f[i].addr, left = f[i].pages * PAGE, offset = f[i].file_offset;
		while (left) {
			uint64_t room = CALL_MAX - (b.len % CALL_MAX), len = left < room ? left : room;
			add(&b, addr, len, offset);
			addr += len;
			offset += len;
			left -= len;
		}
	}
	flush(&b);
	close_fd(s->p, b.fd);
}
