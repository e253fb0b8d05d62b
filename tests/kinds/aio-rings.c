/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of contexts: empty, with unread events, past their end, full, moved, large, many; as many
 * requests fit afterwards as before, and their events come in order. */
#include "aio.h"

#define LARGE 2000
#define MANY 300

static int zero;

/* From now on events with data from first on, n of them; of which taken are taken. */
static void fill(aio_context_t ctx, uint64_t first, unsigned n, unsigned taken)
{
	for (unsigned i = 0; i < n; i++)
		aio_event(ctx, zero, first + i);
	aio_expect(ctx, first, taken);
}

/* Until there is no room. How many. */
static unsigned fill_up(aio_context_t ctx, uint64_t first)
{
	unsigned n = 0;

	for (;;) {
		struct iocb cb = { .aio_data = first + n, .aio_lio_opcode = IOCB_CMD_PREAD,
			           .aio_fildes = (unsigned)zero };
		long r = aio_submit(ctx, &cb);
		if (r < 0) {
			CHECK_EQ(r, -EAGAIN);
			return n;
		}
		n++;
	}
}

/* All of it is taken out; then half of the ring fits once more. */
static void works(aio_context_t ctx)
{
	struct io_event e;
	unsigned half = ring_of(ctx)->nr / 2 - 1;

	CHECK_EQ(aio_take(ctx, 1, &e), 0);
	CHECK_EQ(ring_of(ctx)->head, ring_of(ctx)->tail);
	for (int round = 0; round < 3; round++) {
		fill(ctx, 1000, half, 0);
		aio_expect(ctx, 1000, half);
	}
}

static aio_context_t move(aio_context_t ctx)
{
	size_t len = (sizeof(struct ring) + ring_of(ctx)->nr * sizeof(struct io_event) + 4095) & ~4095ul;
	void *to = mmap(NULL, len + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(to != MAP_FAILED);
	to = mremap((void *)ctx, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)to + 4096);
	CHECK(to != MAP_FAILED);
	return (aio_context_t)to;
}

int main(int argc, char **argv)
{
	aio_context_t empty, used, wrapped, full, moved, large, gone, many[MANY];
	unsigned nr, n;

	kind_init(argc, argv);
	zero = open("/dev/null", O_RDONLY);
	CHECK(zero >= 0);
	empty = aio_setup(1);
	gone = aio_setup(5);
	used = aio_setup(10);
	wrapped = aio_setup(10);
	full = aio_setup(10);
	moved = move(aio_setup(10));
	large = aio_setup(LARGE);
	CHECK_EQ(syscall(SYS_io_destroy, gone), 0);
	nr = ring_of(wrapped)->nr;
	fill(used, 1, 20, 13);
	fill(wrapped, 1, nr / 2, nr / 2);
	fill(wrapped, 1, nr / 4, nr / 4);
	fill(wrapped, 1, nr / 2, 0); /* the last quarter of them from the ring's begin on */
	CHECK(ring_of(wrapped)->tail < ring_of(wrapped)->head);
	fill(full, 1, 3, 3);
	n = fill_up(full, 1);
	CHECK(n >= ring_of(full)->nr / 2);
	fill(moved, 1, 7, 2);
	fill(large, 1, LARGE, LARGE - 1);
	fill(large, LARGE + 1, 1500, 0);
	for (unsigned i = 0; i < MANY; i++)
		fill(many[i] = aio_setup(2), i, 2, 1);
	kind_ready();

	for (unsigned i = 0; i < MANY; i++)
		aio_expect(many[i], i + 1, 1);
	CHECK_EQ(ring_of(used)->head, 13);
	CHECK_EQ(ring_of(used)->tail, 20);
	CHECK_EQ(ring_of(wrapped)->nr, nr);
	works(empty);
	aio_expect(used, 14, 7);
	works(used);
	aio_expect(wrapped, 1, nr / 2);
	works(wrapped);
	struct iocb more = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (unsigned)zero };
	if (aio_submit(full, &more) > 0) /* the processor is another */
		CHECK(fill_up(full, 2) + n + 1 < ring_of(full)->nr);
	aio_expect(full, 1, n);
	while (aio_take(full, 1, &(struct io_event){ 0 }) > 0)
		;
	works(full);
	aio_expect(moved, 3, 5);
	works(moved);
	aio_expect(large, LARGE, 1501);
	works(large);
	kind_pass();
}
