/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes back the changes made outside the tree: a stack of entries, run
 * last in, first out. An entry that hangs or a plugin that is dead does not
 * keep the others from running.
 */
#include "core/host/internal.h"
#include "core/util/util.h"

struct undo {
	struct undo *next;      /* the entry made before */
	struct crcore_ctx *ctx; /* NULL: the core's own, no time limit */
	void (*fn)(void *);
	void *arg;
	bool on_success;
	uint32_t number;        /* from the bottom */
};

int host_undo_push(struct host *h, struct crcore_ctx *ctx, void (*fn)(void *), void *arg,
                   bool on_success, struct crcore_error *err)
{
	struct undo *u = malloc(sizeof(*u));

	if (!u)
		return crcore_no_memory(err);
	*u = (struct undo){ h->undo, ctx, fn, arg, on_success, h->undo ? h->undo->number + 1 : 1 };
	h->undo = u;
	return 0;
}

static int call_undo(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	const struct undo *u = arg;

	u->fn(u->arg);
	return 0;
}

static void run_entry(struct host *h, struct undo *u)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	if (!u->ctx) {
		u->fn(u->arg);
		return;
	}
	int rc = limit_start(h, &err);

	if (rc == 0) {
		bool dead = u->ctx->dead;
		rc = limit_call(u->ctx, NSTAGES, call_undo, u, &err);
		u->ctx->dead |= dead;
		limit_stop(h);
	}
	if (rc < 0)
		log_line(1, "%s: a change may not have been taken back: %s", u->ctx->p.name, err.message);
}

bool host_undo_waits(const struct host *h)
{
	for (const struct undo *u = h->undo; u; u = u->next)
		if (u->on_success)
			return true;
	return false;
}

void host_undo(struct host *h, bool success)
{
	while (h->undo) {
		struct undo *u = h->undo;

		h->undo = u->next; /* first: what fn does may come back here */
		bool is_run = h->undone && u->number >= *h->undone; /* by whom we inherit from */
		if (!is_run && (!success || u->on_success))
			run_entry(h, u);
		if (h->undone)
			__atomic_store_n(h->undone, u->number, __ATOMIC_RELEASE);
		free(u);
	}
}
