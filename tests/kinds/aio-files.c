/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on files through a context, before and after: read and written, buffered and
 * past the cache, vectors, fsync, an eventfd that tells of the end, poll, cancelling. */
#include "aio.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#define LEN 8192

static aio_context_t ctx;
static int file, direct, told;
static char *page;

static void submit(int op, int fd, void *buf, size_t len, off_t at, uint64_t data)
{
	struct iocb cb = { .aio_data = data, .aio_lio_opcode = (uint16_t)op, .aio_fildes = (uint32_t)fd,
		           .aio_buf = (uint64_t)buf, .aio_nbytes = len, .aio_offset = at,
		           .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)told };

	CHECK_EQ(aio_submit(ctx, &cb), 1);
}

/* One event, of which the eventfd told. */
static void done(uint64_t data, int64_t result)
{
	struct io_event e = { 0 };
	uint64_t n = 0;

	while (syscall(SYS_io_getevents, ctx, 1L, 1L, &e, NULL) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(e.data, data);
	CHECK_EQ(e.res, result);
	CHECK_EQ(read(told, &n, sizeof(n)), 8);
	CHECK_EQ(n, 1);
}

static void exercise(int fd, char c)
{
	memset(page, c, LEN);
	submit(IOCB_CMD_PWRITE, fd, page, LEN, LEN, 1);
	done(1, LEN);
	submit(IOCB_CMD_FSYNC, fd, NULL, 0, 0, 2);
	done(2, 0);
	memset(page, 0, LEN);
	submit(IOCB_CMD_PREAD, fd, page, LEN, LEN, 3);
	done(3, LEN);
	for (int i = 0; i < LEN; i++)
		CHECK_EQ(page[i], c);
	struct iovec v[2] = { { page, 4096 }, { page + 4096, 4096 } };
	submit(IOCB_CMD_PWRITEV, fd, v, 2, 0, 4);
	done(4, LEN);
	submit(IOCB_CMD_PREADV, fd, v, 2, LEN, 5);
	done(5, LEN);
}

static void poll_and_cancel(void)
{
	int p[2];
	struct iocb cb = { .aio_data = 9, .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN };
	struct io_event e = { 0 };

	CHECK_EQ(pipe(p), 0);
	cb.aio_fildes = (uint32_t)p[0];
	CHECK_EQ(aio_submit(ctx, &cb), 1);
	CHECK(syscall(SYS_io_cancel, ctx, &cb, &e) < 0 && errno == EINPROGRESS);
	while (syscall(SYS_io_getevents, ctx, 1L, 1L, &e, NULL) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(e.data, 9);
	close(p[0]);
	close(p[1]);
}

int main(int argc, char **argv)
{
	kind_init(argc, argv);
	page = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	file = open(kind_path("file"), O_RDWR | O_CREAT, 0600);
	CHECK(file >= 0 && page != MAP_FAILED);
	direct = open(kind_path("file"), O_RDWR | O_DIRECT);
	told = eventfd(0, EFD_NONBLOCK);
	ctx = aio_setup(4);
	exercise(file, 'a');
	if (direct >= 0)
		exercise(direct, 'b');
	poll_and_cancel();
	submit(IOCB_CMD_PREAD, file, page, LEN, 0, 77); /* not taken before */
	kind_ready();

	done(77, LEN);
	exercise(file, 'c');
	if (direct >= 0)
		exercise(direct, 'd');
	poll_and_cancel();
	kind_pass();
}
