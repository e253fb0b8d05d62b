/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a context is: of all who share the address space. A child of fork(2) has the ring as
 * memory only, and may have contexts of its own; and the ring of one that is no more. */
#include "aio.h"
#include <sched.h>

static aio_context_t ctx, gone;
static int zero, *seen;

static int handed_down(void *arg)
{
	struct io_event e;
	aio_context_t own = aio_setup(3);

	aio_event(own, zero, 5);
	CHECK_EQ(ring_of(ctx)->tail, 3);
	*seen = 1;
	kind_wait();
	CHECK_EQ(ring_of(ctx)->magic, 0xa10a10a1);
	CHECK_EQ(ring_of(ctx)->events[2].data, 3);
	CHECK(aio_take(ctx, 1, &e) < 0 && errno == EINVAL);
	aio_expect(own, 5, 1);
	return 0;
}

static int sharer(void *arg)
{
	aio_event(ctx, zero, 3);
	kind_wait();
	aio_expect(ctx, 1, 2);
	return 0;
}

int main(int argc, char **argv)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t child, thread;

	kind_init(argc, argv);
	seen = kind_shared(sizeof(*seen));
	zero = open("/dev/null", O_RDONLY);
	ctx = aio_setup(10);
	gone = aio_setup(10);
	aio_event(ctx, zero, 1);
	aio_event(ctx, zero, 2);
	thread = clone(sharer, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
	CHECK(thread > 0);
	kind_until((int *)&ring_of(ctx)->tail, 3);
	child = kind_fork(handed_down, NULL);
	CHECK_EQ(syscall(SYS_io_destroy, gone), 0); /* the child still maps it */
	kind_until(seen, 1);
	kind_busy(); /* what is handed down becomes a memory file */
	kind_ready();

	kind_join(thread);
	kind_join(child);
	aio_expect(ctx, 3, 1);
	aio_event(ctx, zero, 4);
	aio_expect(ctx, 4, 1);
	kind_pass();
}
