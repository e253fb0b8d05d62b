/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "netlink": options, sections and what it claims. See netlink.h, netlink.md. */
#include "netlink.h"
#include "plugins/net/claim.h"

#include <linux/capability.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

static int netlink_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                        struct crcore_error *err)
{
	struct netlink *n = calloc(1, sizeof(*n));
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (!n)
		return crcore_fail(err, -ENOMEM, "out of memory");
	n->host = host;
	n->ctx = ctx;
	n->drop = host->option(ctx, "queued")->i == 1;
	n->netns = fd < 0 ? 0 : netns_of(fd);
	*ret_state = n;
	return 0;
}

static void netlink_close(void *state)
{
	struct netlink *n = state;

	for (unsigned i = 0; i < n->nmade; i++)
		netlink__socket__free_unpacked(n->made[i], NULL);
	free(n->made);
	net_usual_free(&n->usual);
	free(n);
}

static int netlink_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct netlink *n = state;
	int r;

	if (net_family(obj) != AF_NETLINK)
		return CRCORE_CLAIM_NONE;
	crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	if (netns_of(obj->local_fd) != n->netns) {
		crcore_advise(err, "run crcore in the network namespace of the task");
		return crcore_fail(err, -ENOTSUP, "it is not in crcore's network namespace");
	}
	r = net_filter_check(obj->local_fd, err);
	if (!r)
		r = netlink_check_socket(n, obj->local_fd, err);
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

static const char *const queued_words[] = { "refuse", "drop", NULL };
static const struct crcore_option options[] = {
	{ .name = "queued", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = queued_words,
	  .help = "messages of the kernel that wait to be received, which cannot be put back: refuse or drop" },
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
	.create = netlink_create,
};
