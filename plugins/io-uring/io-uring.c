/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "io-uring": options, sections and what it claims. See io-uring.h, io-uring.md. */
#include "io-uring.h"

#include <linux/capability.h>

static int uring_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                      struct crcore_error *err)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return crcore_no_memory(err);
	u->host = host;
	u->ctx = ctx;
	u->wait_ns = (uint64_t)host->option(ctx, "wait")->i;
	u->count_limit = (uint64_t)host->option(ctx, "count-limit")->i;
	*ret_state = u;
	return 0;
}

static void uring_close(void *state)
{
	struct uring *u = state;

	for (unsigned i = 0; i < u->nmade; i++) {
		uring__ring__free_unpacked(u->made[i].rec, NULL);
		if (u->made[i].memory >= 0)
			close(u->made[i].memory);
		if (u->made[i].large >= 0)
			close(u->made[i].large);
	}
	for (unsigned i = 0; i < u->nmappings; i++)
		uring__mapping__free_unpacked(u->mappings[i], NULL);
	free(u->made);
	free(u->mappings);
	free(u->pairs);
	peek_close(u->peek);
	free(u);
}

static int look_at_ring(struct uring *u, const struct crcore_object *obj, struct crcore_error *err)
{
	struct look l;
	pid_t issuer;
	int r = u->peek ? 0 : peek_open(&u->peek, err);

	if (r == 0)
		r = ring_look(u, obj->local_fd, &l, err);
	if (r == 0)
		r = note_memory(u, obj, &l, err);
	if (r == 0)
		r = ring_check(u, &l, err);
	if (r == 0)
		r = ring_check_waiting(u, &l, obj->fdinfo, err);
	if (r == 0)
		r = issuer_find(u, obj, &l, &issuer, err);
	return r;
}

static int uring_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	int r = 0;

	if (!is_ring(obj) && !is_memory(obj))
		return CRCORE_CLAIM_NONE;
	if (is_ring(obj))
		r = look_at_ring(state, obj, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "io_uring");
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

static int uring_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	if (!needs_other(state, obj) || other_of(state, obj))
		return 0;
	crcore_fail_at(err, obj->pid, obj->fd, "io_uring");
	if (is_memory(obj)) {
		crcore_advise(err, "let the program unmap a ring when it closes its descriptor");
		return crcore_fail(err, -ENOTSUP, "its memory is mapped at %" PRIx64 " and no descriptor "
		                   "of it is open", obj->start);
	}
	crcore_advise(err, "start the program without io_uring, or let it set the ring up without "
	              "that");
	return crcore_fail(err, -ENOTSUP, "it was set up in memory of the program "
	                   "(IORING_SETUP_NO_MMAP), which cannot be brought back");
}

static const struct crcore_option options[] = {
	{ .name = "wait", .type = CRCORE_SECONDS, .default_value = "2s",
	  .help = "how long requests that are in flight when the tree is frozen may take to end" },
	{ .name = "count-limit", .type = CRCORE_INT, .default_value = "1000000000",
	  .help = "requests that a ring may have taken since it was made; the restore counts up to "
	          "that, in about 70 ns for each" },
	{ .name = NULL },
};

static const struct crcore_field ring_fields[] = {
	{ 9, CRCORE_PAYLOAD, "rings" }, { 10, CRCORE_PAYLOAD, "sqes" }, { 0 },
};
static const struct crcore_field mapping_fields[] = { { 0 } };
static const struct crcore_section sections[] = {
	{ .name = "ring", .version = 1, .fields = ring_fields },
	{ .name = "mapping", .version = 1, .fields = mapping_fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_SYS_ADMIN, "to read what is in flight in a ring" },
	{ 0, NULL },
};

/* The memfd of a ring is met after the ring. */
CRCORE_ONLY_FOR(0, "anon_inode:[io_uring]");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "io-uring",
	.version = "1",
	.summary = "rings of io_uring with nothing in flight",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "io_uring and its mappings (exact)",
	.open = uring_open,
	.close = uring_close,
	.claim = uring_claim,
	.review = uring_review,
	.ask = uring_ask,
	.hold = uring_hold,
	.save_object = uring_save_object,
	.load_record = uring_load_record,
	.check = uring_check,
	.plan = uring_plan,
	.create = uring_create,
	.map = uring_map,
	.emit = uring_emit,
	.settle = uring_settle,
};
