/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "cgroup-freezer": options, sections, hooks. See cgroup-freezer.h and .md. */
#include "cgroup-freezer.h"

#include <linux/capability.h>

static int cg_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                   struct crcore_error *err)
{
	struct cg *cg = calloc(1, sizeof(*cg));

	if (!cg)
		return crcore_fail(err, -ENOMEM, "out of memory");
	cg->host = host;
	cg->ctx = ctx;
	cg->freeze = host->option(ctx, "freeze")->s;
	cg->manage = (enum manage)host->option(ctx, "manage")->i;
	*ret_state = cg;
	return 0;
}

static void cg_close(void *state)
{
	struct cg *cg = state;

	members_free(cg);
	frosts_free(cg);
	mounts_free(cg);
	free(cg->own);
	free(cg);
}

static int cg_observe(void *state, struct crcore_error *err)
{
	return pause_observe(state, err);
}

static int cg_pause(void *state, struct crcore_error *err)
{
	return freeze_pause(state, err);
}

static int cg_wake(void *state, uint32_t how, struct crcore_error *err)
{
	return freeze_wake(state, how, err);
}

static int cg_rest(void *state, struct crcore_error *err)
{
	return freeze_rest(state, err);
}

static const char *const manage_choices[] = { "soft", "none", "props", "full", "strict", "ignore",
	                                      NULL };

static const struct crcore_option options[] = {
	{ .name = "freeze", .type = CRCORE_STRING,
	  .help = "stop the tree by the freezer of this group (a path); else by one of its own" },
	{ .name = "manage", .type = CRCORE_CHOICE, .default_value = "soft", .choices = manage_choices,
	  .help = "which groups and settings a restore makes" },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_DAC_OVERRIDE, "to write the files of groups whoever owns them" },
	{ CAP_SYS_ADMIN, "to read where stopped threads wait" },
	{ 0, NULL },
};

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "cgroup-freezer",
	.version = "1",
	.summary = "control groups, their settings and members, and paused trees",
	.options = options,
	.needs = needs,
	.open = cg_open,
	.close = cg_close,
	.observe = cg_observe,
	.pause = cg_pause,
	.wake = cg_wake,
	.rest = cg_rest,
};
