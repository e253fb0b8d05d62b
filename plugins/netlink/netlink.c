/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "netlink": options, sections and what it claims. See netlink.h, netlink.md. */
#include "netlink.h"
#include "plugins/net/claim.h"
#include "plugins/net/netns.h"

#include <linux/capability.h>

static int netlink_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                        struct crcore_error *err)
{
	struct netlink *n = calloc(1, sizeof(*n));

	if (!n)
		return crcore_no_memory(err);
	n->host = host;
	n->ctx = ctx;
	n->drop = host->option(ctx, "queued")->i == 1;
	*ret_state = n;
	return 0;
}

static void netlink_close(void *state)
{
	struct netlink *n = state;

	for (unsigned i = 0; i < n->nmade; i++)
		made_free(n->made[i]);
	free(n->made);
	net_usual_free(&n->usual);
	free(n);
}

static int netlink_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct netlink *n = state;
	int r;

	if (net_kind(obj).family != AF_NETLINK)
		return CRCORE_CLAIM_NONE;
	crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	r = netns_check(obj->local_fd, &n->netns, err);
	if (!r)
		r = net_filter_check(obj->local_fd, err);
	if (!r)
		r = netlink_check_socket(n, obj->local_fd, err);
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

static const char *const queued_words[] = { "refuse", "drop", NULL };
static const struct crcore_option options[] = {
	{ .name = "queued", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = queued_words,
	  .help = "messages of the kernel that wait to be received, which cannot be put back: refuse "
	          "or drop" },
	{ .name = NULL },
};

static const struct crcore_field fields[] = { { 0 } };
static const struct crcore_section sections[] = {
	{ .name = "socket", .version = 1, .fields = fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_NET_ADMIN, "to join groups and to give a socket large buffers" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK), "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "netlink",
	.version = "1",
	.summary = "netlink sockets with their ports and groups",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "netlink sockets (exact)",
	.open = netlink_open,
	.close = netlink_close,
	.claim = netlink_claim,
	.save_object = netlink_save_object,
	.load_record = netlink_load_record,
	.check = netlink_check,
	.create = netlink_create,
};
