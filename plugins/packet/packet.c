/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "packet": options, sections and what it claims. See packet.h, packet.md. */
#include "packet.h"
#include "plugins/net/claim.h"
#include "plugins/net/netns.h"

#include <linux/capability.h>

static int packet_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                       struct crcore_error *err)
{
	struct packet *p = calloc(1, sizeof(*p));

	if (!p)
		return crcore_no_memory(err);
	p->host = host;
	p->ctx = ctx;
	p->drop = host->option(ctx, "queued")->i == 1;
	*ret_state = p;
	return 0;
}

static void packet_close(void *state)
{
	struct packet *p = state;

	for (unsigned i = 0; i < p->nmade; i++)
		made_free(p->made[i]);
	free(p->made);
	free(p->mapped);
	diag_free(p);
	net_usual_free(&p->usual);
	free(p);
}

static int packet_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct packet *p = state;
	int r;

	if (obj->class_ == CRCORE_FILE) { /* the memory of a ring; what is mapped is the socket */
		bool ring = obj->use == CRCORE_USE_MAPPING && S_ISSOCK(obj->st.st_mode) &&
		            diag_has_ring(p, (uint32_t)obj->st.st_ino);
		return ring ? CRCORE_CLAIM_EXACT : CRCORE_CLAIM_NONE;
	}
	if (net_kind(obj).family != AF_PACKET)
		return CRCORE_CLAIM_NONE;
	crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	r = netns_check(obj->local_fd, &p->netns, err);
	if (!r)
		r = net_filter_check(obj->local_fd, err);
	if (!r)
		r = packet_check_socket(p, obj, err);
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

static const char *const queued_words[] = { "refuse", "drop", NULL };
static const struct crcore_option options[] = {
	{ .name = "queued", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = queued_words,
	  .help = "frames that wait to be received, which cannot be put back: refuse or drop" },
	{ .name = NULL },
};

static const struct crcore_field fields[] = {
	{ 5, CRCORE_NAME, "interface" }, { 8001, CRCORE_NAME, "member interface" },
	{ 8003, CRCORE_ADDRESS, "member address" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "socket", .version = 1, .fields = fields },
	{ .name = "mapping", .version = 1 },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_NET_RAW, "to make packet sockets" },
	{ CAP_NET_ADMIN, "to ask for memberships of packet sockets" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK), "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "packet",
	.version = "1",
	.summary = "packet sockets, and rings to receive frames with",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "packet sockets (exact), mappings of their rings (exact)",
	.open = packet_open,
	.close = packet_close,
	.claim = packet_claim,
	.review = packet_review,
	.save_object = packet_save_object,
	.load_record = packet_load_record,
	.check = packet_check,
	.plan = packet_plan,
	.create = packet_create,
};
