/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of io_uring by system calls alone, so that all that a program keeps of one shows. */
#ifndef URING_H
#define URING_H

#include "kind.h"
#include <linux/io_uring.h>
#include <sys/mman.h>

#define URING_ONE_THREAD (3u << 12) /* IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN */

struct uring {
	int fd;
	struct io_uring_params p;
	char *rings, *sqes;
	uint32_t sq_tail, cq_head; /* our copies, as libraries have */
};

static inline uint32_t *uring_word(const struct uring *u, uint32_t offset)
{
	return (uint32_t *)(void *)(u->rings + offset);
}

static inline int uring_enter(const struct uring *u, unsigned submit, unsigned complete, unsigned flags)
{
	return (int)syscall(SYS_io_uring_enter, u->fd, submit, complete, flags, NULL, 0);
}

/* cq_entries 0: as many as usual. False: the kernel has no such thing. */
static inline bool uring_open(struct uring *u, unsigned entries, unsigned cq_entries, unsigned flags)
{
	size_t len, array;

	*u = (struct uring){ .p.flags = flags | (cq_entries ? IORING_SETUP_CQSIZE : 0),
		             .p.cq_entries = cq_entries };
	u->fd = (int)syscall(SYS_io_uring_setup, entries, &u->p);
	if (u->fd < 0)
		return false;
	len = u->p.cq_off.cqes + u->p.cq_entries * (flags & IORING_SETUP_CQE32 ? 32 : 16);
	array = u->p.sq_off.array + 4ul * u->p.sq_entries;
	u->rings = mmap(NULL, len > array ? len : array, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
	                u->fd, IORING_OFF_SQ_RING);
	u->sqes = mmap(NULL, u->p.sq_entries * (flags & IORING_SETUP_SQE128 ? 128ul : 64ul),
	               PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQES);
	CHECK(u->rings != MAP_FAILED && u->sqes != MAP_FAILED);
	return true;
}

/* The next request to be submitted, all of it 0. */
static inline struct io_uring_sqe *uring_next(struct uring *u, int op, uint64_t data)
{
	uint32_t i = u->sq_tail++ & (u->p.sq_entries - 1);
	size_t size = u->p.flags & IORING_SETUP_SQE128 ? 128 : 64;
	struct io_uring_sqe *sqe = (struct io_uring_sqe *)(void *)(u->sqes + i * size);

	memset(sqe, 0, size);
	sqe->opcode = (uint8_t)op;
	sqe->user_data = data;
	if (u->p.sq_off.array) /* not IORING_SETUP_NO_SQARRAY */
		uring_word(u, u->p.sq_off.array)[i] = i;
	__atomic_store_n(uring_word(u, u->p.sq_off.tail), u->sq_tail, __ATOMIC_RELEASE);
	return sqe;
}

static inline unsigned uring_ready(const struct uring *u)
{
	return __atomic_load_n(uring_word(u, u->p.cq_off.tail), __ATOMIC_ACQUIRE) - u->cq_head;
}

/* Takes the next completion, which must be that of data; its result. */
static inline int uring_take(struct uring *u, uint64_t data)
{
	size_t size = u->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
	const struct io_uring_cqe *cqe;

	CHECK(uring_ready(u) > 0);
	cqe = (const struct io_uring_cqe *)(void *)(u->rings + u->p.cq_off.cqes +
	                                            (u->cq_head & (u->p.cq_entries - 1)) * size);
	int result = cqe->res;
	CHECK_EQ(cqe->user_data, data);
	__atomic_store_n(uring_word(u, u->p.cq_off.head), ++u->cq_head, __ATOMIC_RELEASE);
	return result;
}

/* Submits one request that was prepared, and waits for it. */
static inline int uring_do(struct uring *u, uint64_t data)
{
	CHECK_EQ(uring_enter(u, 1, 1, IORING_ENTER_GETEVENTS), 1);
	return uring_take(u, data);
}

/* n requests that do nothing, of which nothing is left. */
static inline void uring_spend(struct uring *u, unsigned n, int flags)
{
	for (; n; n--) {
		uring_next(u, IORING_OP_NOP, n)->flags = (uint8_t)flags;
		CHECK_EQ(uring_enter(u, 1, 0, 0), 1);
		if (!(flags & IOSQE_CQE_SKIP_SUCCESS))
			CHECK_EQ(uring_take(u, n), 0);
	}
}

/* What /proc tells of the kernel's side: all its counters, and what is in it. */
static inline void uring_told(const struct uring *u, char *ret, size_t len)
{
	char name[64], *from;
	int fd;
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", u->fd);
	fd = open(name, O_RDONLY);
	n = read(fd, ret, len - 1);
	CHECK(n > 0);
	ret[n] = 0;
	close(fd);
	from = strstr(ret, "SqMask");
	CHECK(from);
	memmove(ret, from, strlen(from) + 1);
}
#endif
