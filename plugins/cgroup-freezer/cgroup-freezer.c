/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "cgroup-freezer": options, sections, hooks. See cgroup-freezer.h and .md. */
#include "cgroup-freezer.h"

#include <linux/capability.h>

static int cg_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                   struct crcore_error *err)
{
	struct cg *cg = calloc(1, sizeof(*cg));

	if (!cg)
		return crcore_no_memory(err);
	cg->host = host;
	cg->ctx = ctx;
	cg->freeze = host->option(ctx, "freeze")->s;
	cg->manage = (enum manage)host->option(ctx, "manage")->i;
	cg->roots = host->option(ctx, "root")->list;
	cg->mountinfo = cg->slash = -1;
	int r = mounts_open(cg, err);
	if (r < 0) {
		mounts_free(cg);
		free(cg);
		return r;
	}
	*ret_state = cg;
	return 0;
}

static void cg_close(void *state)
{
	struct cg *cg = state;

	members_free(cg);
	frosts_free(cg);
	groups_free(cg);
	mounts_free(cg);
	for (unsigned i = 0; i < cg->nkept; i++)
		free(cg->kept[i]);
	free(cg->kept);
	free(cg->own);
	free(cg);
}

void *cg_keep_text(struct cg *cg, void *p)
{
	if (p && !GROW(cg->kept, cg->nkept)) {
		free(p);
		return NULL;
	}
	if (p)
		cg->kept[cg->nkept++] = p;
	return p;
}

void *cg_keep(struct cg *cg, size_t size)
{
	return cg_keep_text(cg, calloc(1, size));
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
	struct cg *cg = state;

	return cg->ngroups ? groups_wake(cg, err) : freeze_wake(cg, err);
}

static int cg_rest(void *state, struct crcore_error *err)
{
	return freeze_rest(state, err);
}

static int cg_save(void *state, struct crcore_error *err)
{
	return groups_save(state, err);
}

static int cg_load_record(void *state, const char *section, uint32_t version, const void *msg,
                          size_t len, struct crcore_error *err)
{
	return groups_load(state, section, msg, len, err);
}

static int cg_check(void *state, struct crcore_error *err)
{
	return groups_check(state, err);
}

static int cg_prepare(void *state, struct crcore_error *err)
{
	return groups_create(state, err);
}

static int cg_emit(void *state, const struct crcore_task *task, uint32_t phase,
                   struct crcore_program *p, struct crcore_error *err)
{
	return phase == CRCORE_PHASE_BIRTH ? charge_emit(state, task, p, err) : 0;
}

static int cg_settle(void *state, struct crcore_error *err)
{
	return groups_settle(state, err);
}

/* In a dump there are no groups of an image. */
static int cg_release(void *state, struct crcore_error *err)
{
	return groups_release(state, err);
}

static const char *const manage_choices[] = { "soft", "none", "props", "full", "strict", "ignore",
	                                      NULL };

static const struct crcore_option options[] = {
	{ .name = "freeze", .type = CRCORE_STRING,
	  .help = "stop the tree by the freezer of this group (a path); else by one of its own" },
	{ .name = "manage", .type = CRCORE_CHOICE, .default_value = "soft", .choices = manage_choices,
	  .help = "which groups and settings a restore makes" },
	{ .name = "root", .type = CRCORE_LIST,
	  .help = "restore: [HIERARCHY:]PATH, the groups of the tree go below that path instead" },
	{ .name = NULL },
};

static const struct crcore_field group_fields[] = {
	{ 3, CRCORE_PATH, "path" }, { 10005, CRCORE_PLAIN, "value" }, { 0 },
};

static const struct crcore_section sections[] = {
	{ .name = "group", .version = 1, .fields = group_fields },
	{ .name = "member", .version = 1 },
	{ .name = NULL },
};

/* Those that fill memory while they prepare: it is to be charged to the tree. */
static const char *const fillers[] = { "?ipc", "?files", "?tmpfiles", NULL };
static const struct crcore_order order[] = {
	{ .stage = "prepare", .before = fillers },
	{ 0 },
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
	.sections = sections,
	.order = order,
	.needs = needs,
	.open = cg_open,
	.close = cg_close,
	.observe = cg_observe,
	.pause = cg_pause,
	.wake = cg_wake,
	.rest = cg_rest,
	.save = cg_save,
	.load_record = cg_load_record,
	.check = cg_check,
	.prepare = cg_prepare,
	.emit = cg_emit,
	.settle = cg_settle,
	.release = cg_release,
};
