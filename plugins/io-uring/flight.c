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

#include "plugins/tasks.h"

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

static int64_t count_list(struct uring *u, uint64_t base, const char *type, const char *first)
{
	uint64_t node = 0;
	int64_t n = 0;

	if (peek_number(u->peek, base, type, first, &node) < 0)
		return 0;
	for (; node && n < USERS_MAX; n++)
		if (peek_word(u->peek, node, &node) < 0)
			break;
	return n;
}

/* All rings together, for a thread may use several. */
struct flight {
	int64_t n, ended; /* requests; of these: ended, and waiting for their thread */
	uint64_t *users;  /* who were counted */
	unsigned nusers;
};

static int add_flight(struct uring *u, uint64_t user, void *arg)
{
	struct flight *f = arg;
	uint64_t counter, spare;
	int64_t n = 0;
	int r;

	for (unsigned i = 0; i < f->nusers; i++)
		if (f->users[i] == user)
			return 0;
	if (!GROW(f->users, f->nusers))
		return -ENOMEM;
	f->users[f->nusers++] = user;
	if ((r = peek_at(u->peek, user, USER, "inflight", &counter)) < 0 ||
	    (r = peek_counter(u->peek, counter, &n)) < 0 ||
	    /* Some are counted ahead, for the next requests. */
	    (r = peek_number(u->peek, user, USER, "cached_refs", &spare)) < 0)
		return r;
	f->n += n - (int32_t)spare;
	f->ended += count_list(u, user, USER, "task_list.first");
	return 0;
}

/* In rings of one thread they wait in the ring. */
static int64_t count_deferred(struct uring *u, uint64_t ctx)
{
	return count_list(u, ctx, "io_ring_ctx", "work_llist.first") +
	       count_list(u, ctx, "io_ring_ctx", "retry_llist.first");
}

static int ring_of(struct uring *u, const struct crcore_object *obj, uint64_t *ret,
                   struct crcore_error *err)
{
	cleanup_close int fd = task_fetch(u->host, u->ctx, obj->pid, obj->fd);

	return fd < 0 ? crcore_fail(err, fd, "its descriptor cannot be had: %s", strerror(-fd))
	              : ring_find(u, fd, ret, err);
}

static int count_ring(struct uring *u, const struct crcore_object *obj, struct flight *f,
                      struct crcore_error *err)
{
	uint64_t ctx;
	int r = ring_of(u, obj, &ctx, err);

	if (r < 0)
		return r;
	f->ended += count_deferred(u, ctx);
	r = ring_each_user(u, ctx, add_flight, f);
	return r < 0 ? crcore_fail(err, r, "cannot see how many requests are in flight: %s",
	                           strerror(-r)) : 0;
}

/* *ret_in: one of those that may have some in flight. */
static int count_all(struct uring *u, struct flight *f, const struct crcore_object **ret_in,
                     struct crcore_error *err)
{
	const struct crcore_object *obj;
	int r = 0;

	*f = (struct flight){ .users = f->users };
	for (uint32_t i = 0; r == 0 && (obj = u->host->object(u->ctx, i)); i++) {
		int64_t before = f->n;
		if (is_ring(obj) && (r = count_ring(u, obj, f, err)) < 0)
			crcore_fail_at(err, obj->pid, obj->fd, "io_uring");
		if (f->n != before)
			*ret_in = obj;
	}
	return r;
}

/* -- waiting ------------------------------------------------------------------------------ */

/* Until nothing is in flight, or only what has ended. */
static int wait_for_all(struct uring *u, bool but_ended, struct flight *f,
                        const struct crcore_object **ret_in, struct crcore_error *err)
{
	uint64_t start = now_ns(), deadline = start + u->wait_ns / 2;
	const struct timespec slice = { 0, SLICE_NS };
	int64_t first = 0;
	int r;

	while ((r = count_all(u, f, ret_in, err)) == 0 && f->n > (but_ended ? f->ended : 0) &&
	       now_ns() < deadline) {
		first = first ? first : f->n;
		nanosleep(&slice, NULL);
		u->host->alive(u->ctx);
	}
	if (first)
		u->host->log(u->ctx, 3, "of %" PRIi64 " requests in flight %" PRIi64 " are left after %"
		             PRIu64 " us, %" PRIi64 " of them ended", first, f->n,
		             (now_ns() - start) / 1000, f->ended);
	return r;
}

/* Rings of which this task has the only thread that may do something with them. */
static int ask_for_deferred(struct uring *u, const struct crcore_task *task,
                            struct crcore_program *p, struct crcore_error *err)
{
	const struct crcore_object *obj;
	uint64_t ctx, setup;
	int r = 0;

	for (uint32_t i = 0; r == 0 && (obj = u->host->object(u->ctx, i)); i++) {
		if (!is_ring(obj) || obj->pid != task->pid || (r = ring_of(u, obj, &ctx, err)) < 0)
			continue;
		if (peek_number(u->peek, ctx, "io_ring_ctx", "flags", &setup) == 0 &&
		    is_of_one_thread((uint32_t)setup))
			issuer_ask(u, obj, (uint64_t)count_deferred(u, ctx), p);
	}
	return r;
}

/* What has not ended by now may do so while the programs run. */
int uring_ask(void *state, const struct crcore_task *task, struct crcore_program *p,
              struct crcore_error *err)
{
	const struct crcore_object *in;
	struct uring *u = state;
	struct flight f = { 0 };
	int r = 0;

	if (task->index == 0)
		r = wait_for_all(u, true, &f, &in, err);
	free(f.users);
	return r < 0 ? r : ask_for_deferred(u, task, p, err);
}

int uring_hold(void *state, struct crcore_error *err)
{
	const struct crcore_object *in = NULL;
	struct uring *u = state;
	struct flight f = { 0 };
	int r = wait_for_all(u, false, &f, &in, err);

	free(f.users);
	if (r < 0 || !f.n)
		return r;
	if (in)
		crcore_fail_at(err, in->pid, in->fd, "io_uring");
	crcore_advise(err, "dump again; let the program cancel what may take for ever (polls, "
	              "timeouts, reads of sockets); or raise io-uring.wait");
	return crcore_fail(err, -EBUSY, "requests of the threads that use it are in flight: %" PRIi64
	                   " did not end in %" PRIu64 " ms", f.n, u->wait_ns / 1000000u);
}
