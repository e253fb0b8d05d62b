/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: counting. The kernel keeps to itself how many requests it has taken from a ring
 * and how many completions it has put there, and a library in the program has copies of that.
 * They cannot be set; but requests that do nothing count like any other. With those the new
 * ring lives through as much as the old one has.
 *
 * Usually there were as many completions as requests. There were less if some completed
 * silently, or were dropped because they were no request; and more if some had several. The
 * surplus then is made in the same way, or, for completions, sent from another ring.
 */
#include "io-uring.h"

#include <sys/syscall.h>

#define OP_MSG_RING 40         /* IORING_OP_MSG_RING */
#define HELPERS 64u            /* entries of the other ring */
#define ALIVE_EVERY (1u << 16) /* steps */

struct counting {
	struct uring *u;
	const struct ring_memory *m;
	uint32_t completed;  /* completions so far */
	uint32_t read_up_to; /* what the program had taken of them, in the end */
	uint32_t steps;
	struct crcore_error *err;
};

uint64_t ring_steps(uint32_t submitted, uint32_t completed)
{
	return submitted > completed ? submitted : completed;
}

/* Has the kernel take n requests that are in the ring m. */
static int enter(const struct ring_memory *m, uint32_t n, uint32_t expected,
                 struct crcore_error *err)
{
	uint32_t *tail = ring_word(m, m->p.sq_off.tail);

	__atomic_store_n(tail, *tail + n, __ATOMIC_RELEASE);
	long r = syscall(SYS_io_uring_enter, m->fd, n, 0, 0, NULL, 0);
	if (r == (long)expected)
		return 0;
	r = r < 0 ? -errno : -EIO;
	return crcore_fail(err, (int)r, "the new ring does not count: %s", strerror((int)-r));
}

/* Takes completions out as they come, but for those that were left in the old ring: the
 * kernel may count on room that it once saw. */
static void take(struct counting *c, uint32_t n)
{
	uint32_t *head = ring_word(c->m, c->m->p.cq_off.head);

	c->completed += n;
	__atomic_store_n(head, c->completed < c->read_up_to ? c->completed : c->read_up_to,
	                 __ATOMIC_RELEASE);
}

static void step(struct counting *c, uint32_t n)
{
	c->steps += n;
	if (c->steps < ALIVE_EVERY)
		return;
	c->steps = 0;
	c->u->host->alive(c->u->ctx);
}

static void set_requests(const struct ring_memory *m, const struct io_uring_sqe *sqe)
{
	size_t size = m->sqes_len / m->p.sq_entries;

	memset(m->sqes, 0, m->sqes_len);
	for (uint32_t i = 0; i < m->p.sq_entries; i++)
		memcpy(m->sqes + i * size, sqe, sizeof(*sqe));
}

/* n requests that do nothing; silent: nor say so. */
static int count_requests(struct counting *c, uint32_t n, bool silent)
{
	const struct io_uring_sqe nop = { .opcode = IORING_OP_NOP,
		                          .flags = silent ? IOSQE_CQE_SKIP_SUCCESS : 0 };
	int r = 0;

	set_requests(c->m, &nop);
	for (uint32_t k; r == 0 && n; n -= k) {
		k = n < c->m->p.sq_entries ? n : c->m->p.sq_entries;
		r = enter(c->m, k, k, c->err);
		take(c, silent ? 0 : k);
		step(c, k);
	}
	return r;
}

/* n entries that are no request. */
static int count_dropped(struct counting *c, uint32_t n)
{
	uint32_t *array = ring_word(c->m, c->m->p.sq_off.array);
	int r = 0;

	for (uint32_t i = 0; i < c->m->p.sq_entries; i++)
		array[i] = UINT32_MAX;
	for (; r == 0 && n; n--) {
		r = enter(c->m, 1, 0, c->err);
		step(c, 1);
	}
	for (uint32_t i = 0; i < c->m->p.sq_entries; i++)
		array[i] = 0;
	return r;
}

static int send_completions(struct counting *c, const struct ring_memory *from, uint32_t n)
{
	const struct io_uring_sqe message = { .opcode = OP_MSG_RING, .fd = c->m->fd,
		                              .flags = IOSQE_CQE_SKIP_SUCCESS };
	int r = 0;

	set_requests(from, &message);
	for (uint32_t k; r == 0 && n; n -= k) {
		k = n < HELPERS ? n : HELPERS;
		if (k > c->m->p.cq_entries)
			k = c->m->p.cq_entries;
		r = enter(from, k, k, c->err);
		take(c, k);
		step(c, k);
	}
	return r;
}

static int count_completions(struct counting *c, uint32_t n)
{
	struct ring_memory m;
	int r = ring_in_memfd(0, HELPERS, 2 * HELPERS, &m, c->err);

	if (r < 0)
		return r;
	r = send_completions(c, &m, n);
	ring_unmap(&m);
	close(m.fd);
	close(m.memory);
	return r;
}

int ring_count(struct uring *u, const struct ring_memory *m, const Uring__Ring *rec,
               uint32_t unread, struct crcore_error *err)
{
	struct counting c = { .u = u, .m = m, .read_up_to = rec->completed - unread, .err = err };
	uint32_t both = rec->submitted < rec->completed ? rec->submitted : rec->completed;
	uint32_t surplus = rec->submitted - both;
	int r = 0;

	if (surplus && (rec->drain_disabled || rec->setup & SETUP_NO_SQARRAY))
		r = count_requests(&c, surplus, true);
	else if (surplus)
		r = count_dropped(&c, surplus);
	if (r == 0 && rec->completed != both)
		r = count_completions(&c, rec->completed - both);
	if (r == 0)
		r = count_requests(&c, both, false);
	return r;
}
