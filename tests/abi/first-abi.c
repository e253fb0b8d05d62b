/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of first-abi.so, which is kept as it was built against version 1
 * of the plugin ABI and never built again: if it no longer loads and works,
 * the ABI was broken. Built once with
 *
 *   cc -std=gnu17 -O2 -fPIC -shared -s -Wl,--build-id=none -Wl,-z,noseparate-code -nostartfiles \
 *      $(pkg-config --cflags crcore) -o first-abi.so first-abi.c
 *
 * It uses all of the first header that needs no task: options of all types,
 * log, undo; it counts its hooks and logs the count at close.
 */
#include <crcore/plugin.h>
#include <errno.h>
#include <stdlib.h>

struct state {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	unsigned hooks;
};

static int first_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                      struct crcore_error *err)
{
	const struct crcore_value *n = host->option(ctx, "number");
	const struct crcore_value *choice = host->option(ctx, "choice");

	if (!CRCORE_HAS(host, fetch) || host->abi_version < 1)
		return crcore_fail(err, -EINVAL, "the host lacks services of ABI 1");
	if (!n || !choice || host->option(ctx, "no-such-option"))
		return crcore_fail(err, -EINVAL, "the host does not know my options");
	if (n->i == 13) {
		crcore_fail_at(err, 1, 2, "number");
		crcore_advise(err, "take another number");
		return crcore_fail(err, -ERANGE, "13 is no good");
	}
	struct state *s = calloc(1, sizeof(*s));
	if (!s)
		return crcore_fail(err, -ENOMEM, "out of memory");
	s->host = host;
	s->ctx = ctx;
	s->hooks = 1;
	host->log(ctx, 2, "open: number %lld, choice %s", (long long)n->i, choice->s);
	*ret_state = s;
	return 0;
}

static void first_close(void *state)
{
	struct state *s = state;

	s->host->log(s->ctx, 2, "close after %u hooks", s->hooks);
	free(s);
}

static int count(void *state, struct crcore_error *err)
{
	struct state *s = state;

	s->hooks++;
	return 0;
}

static int first_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct state *s = state;

	s->hooks++;
	return !strcmp(obj->link, "first-abi") ? CRCORE_CLAIM_EXACT : CRCORE_CLAIM_NONE;
}

static int first_load_record(void *state, const char *section, uint32_t version, const void *msg,
                             size_t len, struct crcore_error *err)
{
	return count(state, err);
}

static int first_create(void *state, uint32_t id, struct crcore_error *err)
{
	return crcore_fail(err, -ENOSYS, "object %u cannot be made", id);
}

static const char *const choices[] = { "red", "green", NULL };
static const struct crcore_option options[] = {
	{ "number", CRCORE_INT, "7", NULL, 0, 100, "a number" },
	{ "choice", CRCORE_CHOICE, "green", choices, 0, 0, "a colour" },
	{ "flag", CRCORE_BOOL, "no", NULL, 0, 0, "a flag" },
	{ "size", CRCORE_SIZE, "64MiB", NULL, 0, 0, "a size" },
	{ "time", CRCORE_SECONDS, "250ms", NULL, 0, 0, "a time" },
	{ "text", CRCORE_STRING, "abc", NULL, 0, 0, "a text" },
	{ "list", CRCORE_LIST, NULL, NULL, 0, 0, "a list" },
	{ "map", CRCORE_MAP, NULL, NULL, 0, 0, "a map" },
	{ NULL, 0, NULL, NULL, 0, 0, NULL },
};
static const struct crcore_field fields[] = {
	{ 1, CRCORE_PLAIN, "id" }, { 2, CRCORE_PATH, "path" }, { 0, 0, NULL },
};
static const struct crcore_section sections[] = { { "first", 1, fields }, { NULL, 0, NULL } };
static const char *const after[] = { "?files", NULL };
static const struct crcore_order order[] = { { "save", NULL, after }, { NULL, NULL, NULL } };
static const struct crcore_need needs[] = { { 21, "nothing, really" }, { 0, NULL } };

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "first-abi",
	.version = "1",
	.summary = "was built against the first plugin ABI",
	.options = options,
	.sections = sections,
	.order = order,
	.needs = needs,
	.claims = "objects named first-abi (exact)",
	.open = first_open,
	.close = first_close,
	.observe = count,
	.claim = first_claim,
	.hold = count,
	.save = count,
	.load_record = first_load_record,
	.check = count,
	.create = first_create,
	.settle = count,
	.release = count,
};
