/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that only a task can make, because they stand for something of
 * the caller's: made there, fetched, and closed there again, in one program.
 * All threads that share the table must be stopped, or they would see one of
 * its numbers taken for a moment. If we die meanwhile, the interpreter closes it
 * before it goes back (program.undo); if only the run fails, we do.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include "core/task/inject.h"
#include "core/task/stops.h"
#include "core/util/util.h"

#define SLICE 1000000 /* ns between looks whether the task still lives */

struct lending {
	struct borrow *b;
	prog *p;
	struct inject *in;
	uint32_t made, fetched; /* words of its data */
	uint32_t make, close;   /* operations */
};

static bool write_program(struct lending *l)
{
	const uint64_t *a = l->b->args;
	prog *p = l->p = prog_new();

	if (!p)
		return false;
	l->made = prog_data(p, NULL, sizeof(uint32_t));
	l->fetched = prog_data(p, NULL, sizeof(uint32_t));
	l->make = CALL(p, "make descriptor", l->b->nr, EXPECT_ANY, 0, IMM(a[0]), IMM(a[1]),
	               IMM(a[2]), IMM(a[3]), IMM(a[4]), IMM(a[5]));
	OP(p, "tell that it is made", OP_POST, EXPECT_ANY, 0, DATA(l->made), IMM(1));
	OP(p, "wait until it is fetched", OP_WAIT, EXPECT_ANY, 0, DATA(l->fetched), IMM(1));
	l->close = CALL(p, "close descriptor", SYS_close, EXPECT_ANY, 0, RESULT(l->make));
	return true;
}

static int open_region(struct lending *l, struct crcore_error *err)
{
	if (!write_program(l))
		return crcore_no_memory(err);
	return inject_open(l->b->thread, inject_need(l->p), &l->in, err);
}

static int place(struct lending *l, struct crcore_error *err)
{
	int r = inject_place(l->in, l->b->thread, l->p, err);

	if (r == 0)
		prog_local(l->p)->undo = l->close;
	return r;
}

/* While the task waits for it: takes the descriptor, and lets the task go on. */
static void fetch(void *arg, struct inject *in)
{
	struct lending *l = arg;
	const struct timespec slice = { 0, SLICE };
	uint64_t deadline = now_ns() + INJECT_TIMEOUT;

	while (l->in != in)
		l++;
	uint32_t *made = (uint32_t *)prog_answer(l->p, l->made);
	uint32_t *fetched = (uint32_t *)prog_answer(l->p, l->fetched);
	while (!__atomic_load_n(made, __ATOMIC_ACQUIRE) && !__atomic_load_n(&in->local->failed,
	       __ATOMIC_ACQUIRE) && now_ns() < deadline && !stop_is_dead(l->b->thread->tid))
		syscall(SYS_futex, made, FUTEX_WAIT, 0, &slice, NULL, 0);
	int64_t fd = prog_result(l->p, l->make);
	if (fd >= 0) {
		l->b->fd = (int)syscall(SYS_pidfd_getfd, l->b->thread->task->pidfd, (int)fd, 0);
		if (l->b->fd < 0)
			l->b->fd = -errno;
	} else {
		l->b->fd = fd == -ENODATA ? -ESRCH : (int)fd;
	}
	__atomic_store_n(fetched, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, fetched, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* It was stopped between making and closing. */
static void close_there(struct lending *l)
{
	struct call c = { .nr = SYS_close, .args = { (uint64_t)prog_result(l->p, l->make) } };

	if (prog_result(l->p, l->make) < 0 || prog_result(l->p, l->close) != -ENODATA ||
	    l->in->stuck || !l->b->thread->stopped)
		return;
	landing_prepare(l->in, l->b->thread, &c);
	calls_make(&c, 1);
}

int inject_borrow(struct borrow *v, unsigned n, uint64_t timeout_ns, struct crcore_error *err)
{
	cleanup_free struct lending *l = calloc(n + 1, sizeof(*l));
	cleanup_free struct inject **injects = calloc(n + 1, sizeof(struct inject *));
	unsigned opened = 0;
	int r = l && injects ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; i < n; i++)
		v[i].fd = -ESRCH;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		l[i].b = &v[i];
		r = open_region(&l[i], err);
		injects[i] = l[i].in;
		opened += r == 0;
	}
	if (r == 0)
		r = inject_map(injects, n, err);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = place(&l[i], err);
	if (r == 0)
		r = inject_run_with(injects, n, timeout_ns, fetch, l, err);
	for (unsigned i = 0; i < opened; i++)
		close_there(&l[i]);
	inject_leave(injects, opened);
	for (unsigned i = 0; l && i < n; i++) {
		inject_close(l[i].in);
		prog_free(l[i].p);
		if (r < 0 && v[i].fd >= 0)
			close(STEAL_FD(v[i].fd));
	}
	return r;
}
