/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a tree that a dump takes down. Once the image is sealed the tree ends as a
 * whole, and with it what was held for it outside: should we be killed just then, the
 * heir (host.h) does the rest.
 */
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/dump/dump.h"
#include "core/util/util.h"

#define PATIENCE 2000 /* ms for one task to be gone */

struct ending {
	const struct tree *tree;
	const struct pauses *pauses; /* NULL: none of it is paused */
	struct host *host;
	bool sealed;
};

static void kill_all(void *arg)
{
	const struct ending *e = arg;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (!__atomic_load_n(&e->sealed, __ATOMIC_SEQ_CST))
		return;
	for (unsigned i = 0; i < e->tree->ntasks; i++)
		if (e->tree->tasks[i]->nthreads)
			syscall(SYS_pidfd_send_signal, e->tree->tasks[i]->pidfd, SIGKILL, NULL, 0);
	if (e->pauses)
		e->pauses->wake(e->pauses->arg, CRCORE_WAKE_END, &ignored);
}

static void finish(void *arg)
{
	const struct ending *e = arg;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (!__atomic_load_n(&e->sealed, __ATOMIC_SEQ_CST))
		return;
	for (unsigned i = 0; i < e->tree->ntasks; i++)
		if (e->tree->tasks[i]->nthreads)
			poll(&(struct pollfd){ .fd = e->tree->tasks[i]->pidfd, .events = POLLIN }, 1, PATIENCE);
	if (e->pauses)
		e->pauses->rest(e->pauses->arg, &ignored);
	host_undo(e->host, true);
}

int ending_begin(const struct tree *tree, const struct pauses *pauses, struct host *host,
                 struct ending **ret, struct crcore_error *err)
{
	struct ending *e;

	if (tree->ntasks < 2 && !host_undo_waits(host)) /* one process ends as a whole */
		return 0;
	e = mmap(NULL, sizeof(*e), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (e == MAP_FAILED)
		return crcore_fail(err, -errno, "out of memory");
	*e = (struct ending){ tree, pauses, host, false };
	int r = host_heir(host, kill_all, finish, e, err);
	if (r < 0)
		munmap(e, sizeof(*e));
	else
		*ret = e;
	return r;
}

void ending_sealed(struct ending *e)
{
	if (e)
		__atomic_store_n(&e->sealed, true, __ATOMIC_SEQ_CST);
}

void ending_end(struct ending *e)
{
	if (!e)
		return;
	host_heir_end(e->host);
	munmap(e, sizeof(*e));
}
