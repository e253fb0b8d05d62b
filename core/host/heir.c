/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heir: a guard (core/util/guard.h) that brings a command to its end should this
 * process be killed where nothing can be taken back any more. It begins with a copy of
 * our memory and shares our descriptors, so it can run what is left of the undo entries.
 */
#include <sys/mman.h>
#include "core/host/internal.h"
#include "core/util/guard.h"
#include "core/util/util.h"

struct heir {
	struct guard guard;
	uint32_t undone; /* the number of the last undo entry that was run */
};

static void nothing(void *arg) {}

int host_heir(struct host *h, void (*first)(void *arg), void (*last)(void *arg), void *arg,
              struct crcore_error *err)
{
	struct heir *heir = mmap(NULL, sizeof(*heir), PROT_READ | PROT_WRITE,
	                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (heir == MAP_FAILED)
		return crcore_fail(err, -errno, "no memory for another process: %s", strerror(errno));
	heir->undone = UINT32_MAX;
	h->undone = &heir->undone;
	const struct guard_duty duty = { first ? first : nothing, last ? last : nothing, true, arg };
	int r = guard_begin(&heir->guard, &duty, err);
	if (r == 0) {
		h->heir = heir;
		return 0;
	}
	h->undone = NULL;
	munmap(heir, sizeof(*heir));
	return r;
}

void host_heir_end(struct host *h)
{
	if (!h->heir)
		return;
	guard_end(&h->heir->guard);
	h->undone = NULL;
	munmap(h->heir, sizeof(*h->heir));
	h->heir = NULL;
}
