/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage driver: calls one hook of every plugin that has it, in the order
 * of the stage. Knows which field of the ABI belongs to which stage, and
 * nothing of what the hooks do.
 */
#include "core/host/internal.h"
#include "core/util/util.h"

struct hook_args {
	int (*hook)(void *state, struct crcore_error *);
	const struct crcore_task *task;
	struct crcore_program *program;
	uint32_t phase; /* of emit; of wake: how */
	uint32_t thread;
};

/* The hooks with no argument but the state. */
static int (*plain_hook(const struct crcore_plugin *p, enum stage s))(void *, struct crcore_error *)
{
	switch (s) {
	case STAGE_OBSERVE: return p->observe;
	case STAGE_PAUSE: return p->pause;
	case STAGE_REST: return p->rest;
	case STAGE_HOLD: return p->hold;
	case STAGE_SAVE: return p->save;
	case STAGE_CHECK: return p->check;
	case STAGE_PREPARE: return p->prepare;
	case STAGE_SETTLE: return p->settle;
	case STAGE_RELEASE: return p->release;
	case STAGE_DONE: return p->done;
	default: return NULL;
	}
}

bool stage_has_hook(const struct crcore_plugin *p, enum stage s)
{
	switch (s) {
	case STAGE_OPEN:
	case STAGE_CLOSE: return true;
	case STAGE_CLAIM: return p->claim;
	case STAGE_WAKE: return p->wake;
	case STAGE_ASK: return p->ask || p->ask_again;
	case STAGE_SAVE: return p->save || p->save_object;
	case STAGE_LOAD: return p->load_record;
	case STAGE_PLAN: return p->plan;
	case STAGE_CREATE: return p->create;
	case STAGE_EMIT: return p->emit || p->emit_thread;
	default: return plain_hook(p, s);
	}
}

static int call_plain(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct hook_args *a = arg;

	return a->hook(ctx->state, err);
}

static int call_ask(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct hook_args *a = arg;

	return ctx->p.ask ? ctx->p.ask(ctx->state, a->task, a->program, err) : 0;
}

static int call_ask_again(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct hook_args *a = arg;

	return ctx->p.ask_again ? ctx->p.ask_again(ctx->state, a->task, a->program, err) : 0;
}

static int call_emit(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct hook_args *a = arg;

	return ctx->p.emit ? ctx->p.emit(ctx->state, a->task, a->phase, a->program, err) : 0;
}

static int call_emit_thread(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct hook_args *a = arg;

	return ctx->p.emit_thread ?
	       ctx->p.emit_thread(ctx->state, a->task, a->thread, a->program, err) : 0;
}

static int call_wake(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct hook_args *a = arg;

	return ctx->p.wake(ctx->state, a->phase, err);
}

/* Everybody is called whoever fails: it is the last chance to do what must be done. */
static bool goes_on(enum stage s)
{
	return s == STAGE_RELEASE || s == STAGE_DONE || s == STAGE_REST;
}

static int run_all(struct host *h, enum stage stage, struct hook_args *a,
                   int (*call)(struct crcore_ctx *, void *, struct crcore_error *),
                   struct crcore_error *err)
{
	unsigned n;
	struct crcore_ctx *const *order = host_order(h, stage, &n);
	int ret = limit_start(h, err);

	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < n && (ret >= 0 || goes_on(stage)); i++) {
		const struct crcore_plugin *p = &order[i]->p;

		a->hook = plain_hook(p, stage);
		if (call == call_plain ? !a->hook : !stage_has_hook(p, stage))
			continue;
		if (goes_on(stage) && order[i]->dead)
			continue;
		int rc = host_call(order[i], stage, call, a, err);

		if (ret >= 0)
			ret = rc < 0 ? rc : rc > 0 ? 1 : ret;
	}
	limit_stop(h);
	return ret > 0 && stage != STAGE_PAUSE && stage != STAGE_RELEASE ? 0 : ret;
}

int host_run(struct host *h, enum stage stage, struct crcore_error *err)
{
	struct hook_args a = { 0 };

	log_line(3, "stage %s", stage_name(stage));
	return run_all(h, stage, &a, call_plain, err);
}

int host_wake(struct host *h, uint32_t how, struct crcore_error *err)
{
	struct hook_args a = { .phase = how };

	return run_all(h, STAGE_WAKE, &a, call_wake, err);
}

int host_ask(struct host *h, const struct crcore_task *task, struct crcore_program *program,
             struct crcore_error *err)
{
	struct hook_args a = { .task = task, .program = program };

	return run_all(h, STAGE_ASK, &a, call_ask, err);
}

int host_ask_again(struct host *h, const struct crcore_task *task, struct crcore_program *program,
                   struct crcore_error *err)
{
	struct hook_args a = { .task = task, .program = program };

	return run_all(h, STAGE_ASK, &a, call_ask_again, err);
}

int host_emit(struct host *h, const struct crcore_task *task, uint32_t phase,
              struct crcore_program *program, struct crcore_error *err)
{
	struct hook_args a = { .task = task, .program = program, .phase = phase };

	return run_all(h, STAGE_EMIT, &a, call_emit, err);
}

int host_emit_thread(struct host *h, const struct crcore_task *task, uint32_t thread,
                     struct crcore_program *program, struct crcore_error *err)
{
	struct hook_args a = { .task = task, .program = program, .thread = thread };

	return run_all(h, STAGE_EMIT, &a, call_emit_thread, err);
}
