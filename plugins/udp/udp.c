/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "udp": options, sections and what it claims. See udp.h, udp.md. */
#include "udp.h"
#include "plugins/net/claim.h"
#include "plugins/net/netns.h"

#include <linux/capability.h>

const char *udp_name(uint32_t type, uint32_t protocol)
{
	if (type == SOCK_RAW)
		return "raw IP";
	return protocol == IPPROTO_UDP ? "UDP" : protocol == IPPROTO_UDPLITE ? "UDP-Lite" : "ping";
}

static int udp_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                    struct crcore_error *err)
{
	struct udp *u = calloc(1, sizeof(*u));

	if (!u)
		return crcore_no_memory(err);
	u->host = host;
	u->ctx = ctx;
	u->queued = (enum queued)host->option(ctx, "queued")->i;
	u->corked = (enum corked)host->option(ctx, "corked")->i;
	u->peeking.fd = u->raw4 = u->raw6 = -1;
	*ret_state = u;
	return 0;
}

static void udp_close(void *state)
{
	struct udp *u = state;

	for (unsigned i = 0; i < u->nmade; i++)
		made_free(u->made[i]);
	if (u->raw4 >= 0)
		close(u->raw4);
	if (u->raw6 >= 0)
		close(u->raw6);
	net_usual_free(&u->usual);
	free(u->made);
	free(u->groups);
	free(u);
}

/* -- claim --------------------------------------------------------------------- */

static bool is_ours(const struct crcore_object *obj)
{
	struct net_kind k = net_kind(obj);

	if (k.family != AF_INET && k.family != AF_INET6)
		return false;
	if (k.type != SOCK_DGRAM)
		return k.type == SOCK_RAW;
	return udp_is_datagram((uint32_t)k.protocol) || k.protocol == IPPROTO_ICMP ||
	       k.protocol == IPPROTO_ICMPV6;
}

static int udp_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct udp *u = state;
	int r;

	if (!is_ours(obj))
		return CRCORE_CLAIM_NONE;
	crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	r = netns_check(obj->local_fd, &u->netns, err);
	if (!r)
		r = net_filter_check(obj->local_fd, err);
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

static const char *const queued_words[] = { "keep", "drop", "refuse", NULL };
static const char *const corked_words[] = { "refuse", "drop", NULL };
static const struct crcore_option options[] = {
	{ .name = "queued", .type = CRCORE_CHOICE, .default_value = "keep", .choices = queued_words,
	  .help = "datagrams that wait to be received: keep (refuse those that cannot be put back), "
	          "drop or refuse" },
	{ .name = "corked", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = corked_words,
	  .help = "a datagram that is begun and not yet sent (UDP_CORK, MSG_MORE): refuse or drop" },
	{ .name = NULL },
};

static const struct crcore_field fields[] = {
	{ 6, CRCORE_ADDRESS, "bound" }, { 7, CRCORE_ADDRESS, "peer" },
	{ 13001, CRCORE_ADDRESS, "group" }, { 13002, CRCORE_NAME, "interface" },
	{ 13004, CRCORE_ADDRESS, "source" }, { 14002, CRCORE_ADDRESS, "from" },
	{ 14003, CRCORE_ADDRESS, "to" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "socket", .version = 1, .fields = fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_NET_RAW, "to put datagrams that wait back as from their senders" },
	{ CAP_NET_ADMIN, "to give a socket large buffers, marks and priorities" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK), "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "udp",
	.version = "1",
	.summary = "UDP, UDP-Lite, ping and raw IP sockets with what waits in them",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "UDP, UDP-Lite, ping and raw IP sockets (exact)",
	.open = udp_open,
	.close = udp_close,
	.claim = udp_claim,
	.save_object = udp_save_object,
	.load_record = udp_load_record,
	.check = udp_check,
	.create = udp_create,
};
