/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel alone knows of a ring: its struct io_ring_ctx. And what keeps a ring from
 * being saved: ways of being set up, what has been registered with it, requests that
 * wait for something to happen.
 */
#include "io-uring.h"

#include <time.h>

#define CTX "io_ring_ctx"

/* Members that are not 0 if there is such a thing. A kernel without one has no such thing,
 * or has the next one. */
static const struct {
	const char *member, *what;
} registered[] = {
	{ "file_table.data.nr", "files are registered with it (IORING_REGISTER_FILES)" },
	{ "nr_user_files", "files are registered with it (IORING_REGISTER_FILES)" },
	{ "buf_table.nr", "buffers are registered with it (IORING_REGISTER_BUFFERS)" },
	{ "nr_user_bufs", "buffers are registered with it (IORING_REGISTER_BUFFERS)" },
	{ "io_bl_xa.xa_head", "it has been given buffers to choose from (IORING_REGISTER_PBUF_RING)" },
	{ "io_ev_fd", "an eventfd is registered with it (IORING_REGISTER_EVENTFD)" },
	{ "restrictions.registered", "it is restricted (IORING_REGISTER_RESTRICTIONS)" },
	{ "personalities.xa_head", "it has personalities (IORING_REGISTER_PERSONALITY)" },
	{ "param_region.nr_pages", "it has a memory region (IORING_REGISTER_MEM_REGION)" },
	{ "zcrx_ctxs.xa_head", "it receives from a device (IORING_REGISTER_ZCRX_IFQ)" },
	{ "iowq_limits_set", "it has limits for workers (IORING_REGISTER_IOWQ_MAX_WORKERS)" },
	{ "cq_wait_size", "it has waits registered (IORING_REGISTER_CQWAIT_REG)" },
};

/* Heads of lists of requests that wait, in a kernel that has them. */
static const struct {
	const char *member, *what;
	bool circle; /* the last one points to the head */
} lists[] = {
	{ "timeout_list.next", "a timeout (IORING_OP_TIMEOUT)", true },
	{ "waitid_list.first", "the end of a process (IORING_OP_WAITID)", false },
	{ "futex_list.first", "a futex (IORING_OP_FUTEX_WAIT)", false },
};

/* By bit of the IORING_SETUP_*. */
static const char *const setups[] = {
	"IOPOLL", "SQPOLL", "SQ_AFF", NULL, NULL, "ATTACH_WQ", NULL, NULL, NULL, NULL, NULL, NULL,
	NULL, NULL, NULL, "REGISTERED_FD_ONLY", NULL, "HYBRID_IOPOLL",
	"CQE_MIXED",
};

static int not_told(const char *member, int code, struct crcore_error *err)
{
	crcore_advise(err, "let the program close the ring before the dump, or start it without "
	              "io_uring");
	return crcore_fail(err, code, "%s of the kernel's struct " CTX " cannot be read: %s", member,
	                   strerror(-code));
}

static int read_number(struct uring *u, const struct look *l, const char *member, uint32_t *ret,
                       struct crcore_error *err)
{
	uint64_t value = 0;
	int r = peek_number(u->peek, l->ctx, CTX, member, &value);

	*ret = (uint32_t)value;
	return r < 0 ? not_told(member, r, err) : 0;
}

/* Is a list in use that this kernel need not have? */
static bool is_used(struct uring *u, const struct look *l, const char *member, bool circle)
{
	uint64_t first, head;

	return peek_number(u->peek, l->ctx, CTX, member, &first) == 0 && first &&
	       peek_at(u->peek, l->ctx, CTX, member, &head) == 0 && (!circle || first != head);
}

/* The inode of the file that the first page of a region is of. */
static ino_t memory_inode(struct uring *u, const struct look *l)
{
	uint64_t pages, page, mapping, inode, number;

	if (peek_number(u->peek, l->ctx, CTX, "ring_region.pages", &pages) < 0 ||
	    peek_word(u->peek, pages, &page) < 0 ||
	    peek_number(u->peek, page, "page", "mapping", &mapping) < 0 || !mapping || mapping & 3 ||
	    peek_number(u->peek, mapping, "address_space", "host", &inode) < 0 ||
	    peek_number(u->peek, inode, "inode", "i_ino", &number) < 0)
		return 0;
	return (ino_t)number;
}

static int read_all(struct uring *u, struct look *l, struct crcore_error *err)
{
	uint64_t value = 0;
	int r;

	if ((r = read_number(u, l, "flags", &l->setup, err)) < 0 ||
	    (r = read_number(u, l, "sq_entries", &l->sq_entries, err)) < 0 ||
	    (r = read_number(u, l, "cq_entries", &l->cq_entries, err)) < 0 ||
	    (r = read_number(u, l, "cached_sq_head", &l->submitted, err)) < 0 ||
	    (r = read_number(u, l, "cached_cq_tail", &l->completed, err)) < 0)
		return r;
	l->drain_disabled = peek_number(u->peek, l->ctx, CTX, "drain_disabled", &value) == 0 && value;
	l->memory = l->setup & SETUP_NO_MMAP ? memory_inode(u, l) : 0;
	return 0;
}

/* ---- refusals --------------------------------------------------------------------------- */

static int check_setup(const struct look *l, struct crcore_error *err)
{
	uint32_t other = l->setup & ~(SETUP_KNOWN | SETUP_NO_MMAP);
	unsigned bit = other ? (unsigned)__builtin_ctz(other) : 0;

	if (!other)
		return 0;
	crcore_advise(err, "start the program without io_uring, or let it set the ring up without "
	              "that");
	if (bit < sizeof(setups) / sizeof(*setups) && setups[bit])
		return crcore_fail(err, -ENOTSUP, "it was set up with IORING_SETUP_%s, which cannot be "
		                   "brought back", setups[bit]);
	return crcore_fail(err, -ENOTSUP, "it was set up with the unknown flag %#x", 1u << bit);
}

/* Only its thread can count, and only rings with DEFER_TASKRUN can be made to count quickly. */
static int check_issuer(const struct look *l, struct crcore_error *err)
{
	if ((l->setup & SETUP_ONE_THREAD) != SETUP_SINGLE_ISSUER)
		return 0;
	crcore_advise(err, "start the program without io_uring, or let it set the ring up without "
	              "that, or with IORING_SETUP_DEFER_TASKRUN too");
	return crcore_fail(err, -ENOTSUP, "it was set up with IORING_SETUP_SINGLE_ISSUER alone, which "
	                   "cannot be brought back");
}

static int check_registered(struct uring *u, const struct look *l, struct crcore_error *err)
{
	uint64_t value;

	for (unsigned i = 0; i < sizeof(registered) / sizeof(*registered); i++) {
		if (peek_number(u->peek, l->ctx, CTX, registered[i].member, &value) < 0 || !value)
			continue;
		crcore_advise(err, "let the program undo that before the dump, or start it without "
		              "io_uring");
		return crcore_fail(err, -ENOTSUP, "%s, which cannot be brought back", registered[i].what);
	}
	if (peek_number(u->peek, l->ctx, CTX, "clockid", &value) == 0 && value != CLOCK_MONOTONIC)
		return crcore_fail(err, -ENOTSUP, "it waits by a clock of its own (IORING_REGISTER_CLOCK), "
		                   "which cannot be brought back");
	return 0;
}

/* The descriptors that a thread has registered (IORING_REGISTER_RING_FDS). */
static int has_registered_rings(struct uring *u, uint64_t user, void *arg)
{
	uint64_t list, ring;

	if (peek_at(u->peek, user, "io_uring_task", "registered_rings", &list) < 0)
		return 0;
	for (unsigned i = 0; i < 16; i++)
		if (peek_word(u->peek, list + i * sizeof(void *), &ring) == 0 && ring)
			return 1;
	return 0;
}

static int check_use(struct uring *u, const struct look *l, struct crcore_error *err)
{
	if (is_used(u, l, "cq_overflow_list.next", true)) {
		crcore_advise(err, "dump when the program has taken its completions");
		return crcore_fail(err, -EBUSY, "there are completions that did not fit into it");
	}
	if (ring_each_user(u, l->ctx, has_registered_rings, NULL)) {
		crcore_advise(err, "let the program unregister them (io_uring_unregister_ring_fd)");
		return crcore_fail(err, -ENOTSUP, "a thread that uses it has registered descriptors of "
		                   "rings (IORING_REGISTER_RING_FDS), which cannot be brought back");
	}
	if (ring_steps(l->submitted, l->completed) <= u->count_limit)
		return 0;
	crcore_advise(err, "raise io-uring.count-limit, or let the program make a new ring");
	return crcore_fail(err, -E2BIG, "it has taken %u requests and given %u completions: to count "
	                   "up to that would take the restore more than %" PRIu64 " steps",
	                   l->submitted, l->completed, u->count_limit);
}

int ring_find(struct uring *u, int fd, uint64_t *ret, struct crcore_error *err)
{
	uint64_t file;
	int r = peek_file(u->peek, fd, &file);

	if (r == 0)
		r = peek_number(u->peek, file, "file", "private_data", ret);
	return r < 0 ? not_told("the address", r, err) : 0;
}

int ring_look(struct uring *u, int fd, struct look *ret, struct crcore_error *err)
{
	int r = ring_find(u, fd, &ret->ctx, err);

	return r < 0 ? r : read_all(u, ret, err);
}

int ring_check(struct uring *u, const struct look *l, struct crcore_error *err)
{
	int r = check_setup(l, err);

	if (r == 0)
		r = check_issuer(l, err);
	if (r == 0)
		r = check_registered(u, l, err);
	return r < 0 ? r : check_use(u, l, err);
}

static int refuse_waiting(const char *what, struct crcore_error *err)
{
	crcore_advise(err, "let the program cancel it before the dump, or start it without io_uring "
	              "(its own option, UV_USE_IO_URING=0 for libuv, or kernel.io_uring_disabled=2)");
	return crcore_fail(err, -ENOTSUP, "a request in it waits for %s, which cannot be saved", what);
}

int ring_check_waiting(struct uring *u, const struct look *l, const char *fdinfo,
                       struct crcore_error *err)
{
	const char *polls = strstr(fdinfo, "PollList:\n  op=");

	if (polls)
		return refuse_waiting("what it polls", err);
	for (unsigned i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		if (is_used(u, l, lists[i].member, lists[i].circle))
			return refuse_waiting(lists[i].what, err);
	return 0;
}
