/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of io_setup(2) for tests, without a library between. */
#ifndef KIND_AIO_H
#define KIND_AIO_H

#include "kind.h"
#include <linux/aio_abi.h>
#include <sys/mman.h>

struct ring { /* what a context's number points to */
	unsigned id, nr, head, tail;
	unsigned magic, compat, incompat, header_length;
	struct io_event events[];
};

static inline struct ring *ring_of(aio_context_t ctx)
{
	return (struct ring *)ctx;
}

static inline aio_context_t aio_setup(unsigned requests)
{
	aio_context_t ctx = 0;

	CHECK_EQ(syscall(SYS_io_setup, requests, &ctx), 0);
	return ctx;
}

static inline long aio_submit(aio_context_t ctx, struct iocb *cb)
{
	return syscall(SYS_io_submit, ctx, 1L, &cb) < 0 ? -errno : 1;
}

/* Reads nothing from fd, which is done at once: one event with this data. */
static inline void aio_event(aio_context_t ctx, int fd, uint64_t data)
{
	struct iocb cb = { .aio_data = data, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (unsigned)fd };

	CHECK_EQ(aio_submit(ctx, &cb), 1);
}

/* Takes n events, without waiting for more. How many there were. */
static inline long aio_take(aio_context_t ctx, long n, struct io_event *ret)
{
	struct timespec none = { 0 };

	return syscall(SYS_io_getevents, ctx, 0L, n, ret, &none);
}

/* The next n events have data from first on. */
static inline void aio_expect(aio_context_t ctx, uint64_t first, unsigned n)
{
	struct io_event e;

	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(aio_take(ctx, 1, &e), 1);
		CHECK_EQ(e.data, first + i);
		CHECK_EQ(e.res, 0);
	}
}

#endif
