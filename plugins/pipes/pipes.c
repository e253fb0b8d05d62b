/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "pipes": options, sections and what it claims. See pipes.h, pipes.md. */
#include "pipes.h"

#include <linux/capability.h>

static int pipes_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                      struct crcore_error *err)
{
	struct pipes *p = calloc(1, sizeof(*p));

	if (!p)
		return crcore_no_memory(err);
	p->host = host;
	p->ctx = ctx;
	p->external = (enum external)host->option(ctx, "external")->i;
	p->own[0] = p->own[1] = -1;
	*ret_state = p;
	return 0;
}

static void free_made(struct made *m)
{
	if (m->rec)
		pipes__pipe__free_unpacked(m->rec, NULL);
	made_let_go(m);
	free(m->name);
	free(m);
}

static void pipes_close(void *state)
{
	struct pipes *p = state;

	for (int i = 0; i < 2; i++)
		if (p->own[i] >= 0)
			close(p->own[i]);
	for (unsigned i = 0; i < p->nmade; i++)
		free_made(p->made[i]);
	for (unsigned i = 0; i < p->nends; i++)
		pipes__end__free_unpacked(p->ends[i], NULL);
	free(p->made);
	free(p->ends);
	free(p->known);
	free(p);
}

static int pipes_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	char path[PATH_MAX];
	bool unlinked;
	int r = 0;

	if (obj->class_ != CRCORE_DESCRIPTION || !S_ISFIFO(obj->st.st_mode) || obj->flags & O_PATH)
		return CRCORE_CLAIM_NONE;
	if (strstr(obj->fdinfo, "lock:\t")) {
		crcore_advise(err, "dump when the lock is not held");
		r = crcore_fail(err, -ENOTSUP, "there is a lock on it, which cannot be saved");
	} else if (strncmp(obj->link, "pipe:", 5) != 0) {
		r = fifo_locate(obj, path, &unlinked, err);
	}
	if (r < 0) {
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
		return r;
	}
	return CRCORE_CLAIM_EXACT;
}

static const char *const external_choices[] = { "refuse", "closed", "inherit", NULL };

static const struct crcore_option options[] = {
	{ .name = "external", .type = CRCORE_CHOICE, .default_value = "refuse",
	  .choices = external_choices,
	  .help = "a pipe whose other end is outside the tree: refuse, restore it with that end "
	          "closed, or put crcore's own standard input or output in its place" },
	{ .name = NULL },
};

static const struct crcore_field pipe_fields[] = {
	{ 2, CRCORE_PATH, "path" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "pipe", .version = 1, .fields = pipe_fields },
	{ .name = "end", .version = 1 },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_CHOWN, "to give a pipe back the owner that it had" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFIFO), "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "pipes",
	.version = "1",
	.summary = "pipes and FIFOs with the bytes in them",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "pipes and FIFOs (exact)",
	.open = pipes_open,
	.close = pipes_close,
	.claim = pipes_claim,
	.review = pipes_review,
	.save_object = pipes_save_object,
	.load_record = pipes_load_record,
	.check = pipes_check,
	.create = pipes_create,
	.settle = pipes_settle,
};
