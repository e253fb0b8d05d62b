/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in flight. The kernel counts them for each thread that makes some, in its struct
 * io_uring_task. Those that have ended may need their thread once more, to tell the program:
 * they are on a list of the thread's until it runs.
 *
 * So when the tree is frozen we wait until all have come that far; then the threads run
 * crcore's programs, and see to the list on the way; then none may be left.
 */
#include "io-uring.h"

#include <sys/syscall.h>
#include <time.h>

#define USERS_MAX (1u << 20)
#define USER "io_uring_task"
#define SLICE_NS 200000u

/* -- users -------------------------------------------------------------------------------- */

static int user_of_node(struct uring *u, uint64_t node, uint64_t *ret)
{
	uint64_t offset, task;
	int r = peek_at(u->peek, 0, "io_tctx_node", "ctx_node", &offset);

	if (r == 0)
		r = peek_number(u->peek, node - offset, "io_tctx_node", "task", &task);
	return r < 0 ? r : peek_number(u->peek, task, "task_struct", "io_uring", ret);
}

int ring_each_user(struct uring *u, uint64_t ctx, int (*fn)(struct uring *, uint64_t, void *),
                   void *arg)
{
	uint64_t head, node, user;
	int r = peek_at(u->peek, ctx, "io_ring_ctx", "tctx_list", &head);

	if (r == 0)
		r = peek_word(u->peek, head, &node);
	for (unsigned n = 0; r == 0 && node != head && n < USERS_MAX; n++) {
		r = user_of_node(u, node, &user);
		if (r == 0 && user)
			r = fn(u, user, arg);
		if (r == 0)
			r = peek_word(u->peek, node, &node);
	}
	return r;
}

/* -- counting ----------------------------------------------------------------------------- */

/* Requests that have ended and wait for their thread. */
static int64_t count_ended(struct uring *u, uint64_t user)
{
	uint64_t node = 0;
	int64_t n = 0;

	if (peek_number(u->peek, user, USER, "task_list.first", &node) < 0)
		return 0;
	for (; node && n < USERS_MAX; n++)
		if (peek_word(u->peek, node, &node) < 0)
			break;
	return n;
}

struct flight {
	bool but_ended;
	int64_t n;
};

static int add_flight(struct uring *u, uint64_t user, void *arg)
{
	struct flight *f = arg;
	uint64_t counter, spare;
	int64_t n = 0;
	int r = peek_at(u->peek, user, USER, "inflight", &counter);

	if (r == 0)
		r = peek_counter(u->peek, counter, &n);
	/* Some are counted ahead, for the next requests. */
	if (r == 0)
		r = peek_number(u->peek, user, USER, "cached_refs", &spare);
	if (r < 0)
		return r;
	n -= (int32_t)spare;
	f->n += f->but_ended ? n - count_ended(u, user) : n;
	return 0;
}

static int descriptor_of(const struct uring *u, const struct crcore_object *obj)
{
	const struct crcore_task *t;

	for (uint32_t i = 0; (t = u->host->task(u->ctx, i)); i++)
		if (t->pid == obj->pid) {
			int fd = (int)syscall(SYS_pidfd_getfd, t->pidfd, obj->fd, 0);
			return fd < 0 ? -errno : fd;
		}
	return -ESRCH;
}

static int count_flight(struct uring *u, const struct crcore_object *obj, struct flight *f,
                        struct crcore_error *err)
{
	cleanup_close int fd = descriptor_of(u, obj);
	uint64_t ctx;
	int r = fd < 0 ? crcore_fail(err, fd, "its descriptor cannot be had: %s", strerror(-fd))
	               : ring_find(u, fd, &ctx, err);

	if (r < 0)
		return r;
	f->n = 0;
	r = ring_each_user(u, ctx, add_flight, f);
	return r < 0 ? crcore_fail(err, r, "cannot see how many requests are in flight: %s",
	                           strerror(-r)) : 0;
}

/* -- waiting ------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int refuse(const struct uring *u, int64_t n, struct crcore_error *err)
{
	crcore_advise(err, "dump again; let the program cancel what may take for ever (polls, timeouts, "
	              "reads of sockets); or raise io-uring.wait");
	return crcore_fail(err, -EBUSY, "requests of the threads that use it are in flight: %" PRIi64
	                   " did not end in %" PRIu64 " ms", n, u->wait_ns / 1000000u);
}

/* Until nothing is in flight in a ring, or what has ended but for its thread. */
static int wait_for(struct uring *u, const struct crcore_object *obj, struct flight *f,
                    uint64_t deadline, struct crcore_error *err)
{
	const struct timespec slice = { 0, SLICE_NS };
	uint64_t start = now_ns();
	int64_t first = 0;
	int r;

	while ((r = count_flight(u, obj, f, err)) == 0 && f->n && now_ns() < deadline) {
		first = first ? first : f->n;
		nanosleep(&slice, NULL);
		u->host->alive(u->ctx);
	}
	if (first)
		u->host->log(u->ctx, 3, "%" PRIi64 " of %" PRIi64 " requests in flight ended in %" PRIu64
		             " us", first - f->n, first, (now_ns() - start) / 1000);
	return r;
}

static int wait_for_all(struct uring *u, bool but_ended, struct crcore_error *err)
{
	uint64_t deadline = now_ns() + u->wait_ns / 2;
	struct flight f = { .but_ended = but_ended };
	const struct crcore_object *obj;
	int r = 0;

	for (uint32_t i = 0; r == 0 && (obj = u->host->object(u->ctx, i)); i++) {
		if (!is_ring(obj))
			continue;
		r = wait_for(u, obj, &f, deadline, err);
		if (r == 0 && f.n && !but_ended)
			r = refuse(u, f.n, err);
		if (r < 0)
			crcore_fail_at(err, obj->pid, obj->fd, "io_uring");
	}
	return r;
}

/* What has not ended by now may do so while the programs run. */
int uring_ask(void *state, const struct crcore_task *task, struct crcore_program *p,
              struct crcore_error *err)
{
	return task->index ? 0 : wait_for_all(state, true, err);
}

int uring_hold(void *state, struct crcore_error *err)
{
	return wait_for_all(state, false, err);
}
