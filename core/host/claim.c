/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose is this object? Every plugin is asked; the most exact answer wins. An
 * object that nobody claims, or two claim alike, is an error that names it:
 * load order never decides.
 */
#include "core/host/internal.h"
#include "core/util/util.h"

struct bids {
	const struct crcore_object *obj;
	int best;
	struct crcore_ctx *winner, *rival; /* rival: claims as exactly as the winner */
	struct crcore_error refusal; /* of the first plugin that says "mine, but cannot be saved" */
};

static int call_claim(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	const struct bids *b = arg;
	int rc = ctx->p.claim(ctx->state, b->obj, err);

	if (rc > CRCORE_CLAIM_NAMED)
		return crcore_fail(err, -EINVAL, "answered %d to an offered object, which is no claim", rc);
	return rc;
}

static void name_object(const struct crcore_object *obj, struct crcore_error *err)
{
	static const char *const use[] = { "", "mapping of ", "executable ", "current directory ",
	                                   "root directory " };
	const char *what = obj->use < ARRAY_SIZE(use) ? use[obj->use] : "";

	crcore_fail_at(err, obj->pid, obj->fd, "%s%s", what, obj->link ? obj->link : "");
}

static int take_bid(struct bids *b, struct crcore_ctx *ctx, struct crcore_error *err)
{
	struct crcore_error mine = CRCORE_ERROR_INIT;
	int rc = host_call(ctx, STAGE_CLAIM, call_claim, b, &mine);

	if (ctx->dead || (rc < 0 && !mine.code)) {
		if (err && !err->code)
			*err = mine;
		name_object(b->obj, err);
		return rc;
	}
	if (rc < 0) {
		if (!b->refusal.code)
			b->refusal = mine;
	} else if (rc > b->best) {
		b->best = rc;
		b->winner = ctx;
		b->rival = NULL;
	} else if (rc && rc == b->best && !b->rival) {
		b->rival = ctx;
	}
	return 0;
}

static int judge(struct bids *b, struct crcore_error *err)
{
	if (!b->winner && b->refusal.code) {
		if (err && !err->code)
			*err = b->refusal;
		name_object(b->obj, err);
		return b->refusal.code;
	}
	if (b->winner && !b->rival && b->winner->p.create)
		return 0;
	name_object(b->obj, err);
	if (!b->winner) {
		crcore_advise(err, "close it before, or load a plugin that knows it (`crcore plugins` "
		              "lists what is loaded)");
		return crcore_fail(err, -ENOTSUP, "no plugin knows how to save this");
	}
	if (b->rival) {
		crcore_advise(err, "keep only one of them in the policy");
		return crcore_fail(err, -EEXIST, "the plugins %s and %s both claim this, as %s",
		                   b->winner->p.name, b->rival->p.name,
		                   b->best == CRCORE_CLAIM_NAMED ? "named" :
		                   b->best == CRCORE_CLAIM_EXACT ? "exact" : "generic");
	}
	crcore_advise(err, "load a plugin that knows it, in place of %s", b->winner->p.name);
	return crcore_fail(err, -ENOTSUP, "the plugin %s claims this, but could not restore it: it has "
	                   "no hook create", b->winner->p.name);
}

int host_claim(struct host *h, const struct crcore_object *obj, struct crcore_ctx **ret_ctx,
               struct crcore_error *err)
{
	struct bids b = { .obj = obj, .refusal = CRCORE_ERROR_INIT };
	unsigned n;
	int rc = h->nlater ? later_load(h, obj, err) : 0;

	if (rc < 0 || (rc = limit_start(h, err)) < 0)
		return rc;
	struct crcore_ctx *const *order = host_order(h, STAGE_CLAIM, &n);
	for (unsigned i = 0; rc == 0 && i < n; i++)
		if (order[i]->p.claim)
			rc = take_bid(&b, order[i], err);
	limit_stop(h);
	if (rc == 0)
		rc = judge(&b, err);
	if (rc == 0)
		*ret_ctx = b.winner;
	return rc;
}

int host_own(struct crcore_ctx *ctx, const struct crcore_object *obj, struct crcore_error *err)
{
	if (!GROW(ctx->objects, ctx->nobjects))
		return crcore_no_memory(err);
	ctx->objects[ctx->nobjects++] = obj;
	ctx->used = true;
	return 0;
}

void host_forget(struct host *host)
{
	for (unsigned i = 0; i < host->nplugins; i++)
		host->plugins[i]->nobjects = 0;
}
