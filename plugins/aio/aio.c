/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "aio": options, sections, hooks. See aio.h, aio.md. */
#include "aio.h"

#include <linux/capability.h>

static int aio_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                    struct crcore_error *err)
{
	struct aio *a;

	if (!CRCORE_HAS(host, store))
		return crcore_fail(err, -ENOTSUP, "needs a later release of crcore");
	if (!(a = calloc(1, sizeof(*a))))
		return crcore_no_memory(err);
	a->host = host;
	a->ctx = ctx;
	a->wait_ns = host->option(ctx, "wait")->i;
	*ret_state = a;
	return 0;
}

static void aio_close(void *state)
{
	struct aio *a = state;

	kernel_close(a->kernel);
	for (unsigned i = 0; i < a->nrecs; i++)
		aio__context__free_unpacked(a->recs[i], NULL);
	free(a->recs);
	free(a);
}

static const struct crcore_option options[] = {
	{ .name = "wait", .type = CRCORE_SECONDS, .default_value = "2s",
	  .help = "how long the frozen tree may wait for requests in flight to end" },
	{ .name = NULL },
};

static const struct crcore_field fields[] = {
	{ 3, CRCORE_ADDRESS, "address" }, { 8, CRCORE_PAYLOAD, "events" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "context", .version = 1, .fields = fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_SYS_ADMIN, "to read which requests are in flight" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(0, "/[aio]");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "aio",
	.version = "1",
	.summary = "contexts of asynchronous input and output (io_setup)",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "rings of AIO contexts (exact)",
	.open = aio_open,
	.close = aio_close,
	.claim = aio_claim,
	.hold = aio_hold,
	.save_object = aio_save_object,
	.load_record = aio_load_record,
	.check = aio_check,
	.create = aio_create,
	.map = aio_map,
};
