/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "tcp": options, sections and what it claims. See tcp.h, tcp.md. */
#include "plugins/bpf/peek.h"
#include "plugins/net/claim.h"
#include "plugins/tcp/backlog.h"
#include "plugins/tcp/bank.h"

#include <linux/capability.h>

static void known_forget(struct tcp *t)
{
	for (unsigned i = 0; i < t->nknown; i++)
		known_free(&t->known[i]);
	t->nknown = 0;
	t->reviewed = false;
}

static void tcp_close(void *state)
{
	struct tcp *t = state;

	known_forget(t);
	for (unsigned i = 0; i < t->nmade; i++)
		made_free(t->made[i]);
	free(t->made);
	free(t->known);
	free(t->by_tuple);
	free(t->rules);
	free(t->map);
	free(t->old_table);
	net_usual_free(&t->usual);
	graph_free(&t->graph);
	graph_free(&t->making);
	free(t->bytes.buf);
	pthread_mutex_destroy(&t->shared);
	bank_free(t->bank);
	peek_close(t->peek);
	free(t->reset);
	free(t->banked);
	close_fd(&t->low[0]);
	close_fd(&t->low[1]);
	close_fd(&t->raw[0]);
	close_fd(&t->raw[1]);
	lock_free(t);
	meanwhile_free(t->meanwhile);
	backlog_free(t->backlog);
	waiting_done(t);
	free(t->waits);
	free(t);
}

enum { AS_ESTABLISHED, REFUSED, DROPPED, KEPT }; /* option in-flight */

/* After policy_parse(). */
static int parse_in_flight(struct tcp *t, struct crcore_error *err)
{
	int64_t way = t->host->option(t->ctx, "in-flight")->i;

	if (way == AS_ESTABLISHED)
		way = t->established == KEEP ? KEPT : t->established == REFUSE ? REFUSED : DROPPED;
	t->drop_in_flight = way == DROPPED;
	t->keep_in_flight = way == KEPT;
	t->backlog = t->keep_in_flight ? backlog_new() : NULL;
	return t->keep_in_flight && !t->backlog ? crcore_no_memory(err) : 0;
}

static int tcp_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                    struct crcore_error *err)
{
	struct tcp *t = calloc(1, sizeof(*t));
	cleanup_close int own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int r;

	if (!t)
		return crcore_no_memory(err);
	pthread_mutex_init(&t->shared, NULL);
	t->host = host;
	t->ctx = ctx;
	t->raw[0] = t->raw[1] = -1;
	t->meanwhile = meanwhile_new();
	t->low[0] = own < 0 ? -1 : fcntl(own, F_DUPFD_CLOEXEC, 0);
	t->low[1] = own < 0 ? -1 : fcntl(own, F_DUPFD_CLOEXEC, 0);
	t->hold_listening = host->option(ctx, "listening")->i == 1;
	r = t->meanwhile ? policy_parse(t, err) : crcore_no_memory(err);
	if (!r)
		r = parse_in_flight(t, err);
	if (!r)
		r = map_parse(t, err);
	if (r < 0)
		tcp_close(t);
	else
		*ret_state = t;
	return r;
}

/* -- claim --------------------------------------------------------------------- */

/* For review(), which looks at it: if it is ours then. */
static int remember(struct tcp *t, const struct crcore_object *obj, int family,
                    struct crcore_error *err)
{
	if (t->reviewed)
		known_forget(t);
	if (!GROW(t->known, t->nknown))
		return crcore_no_memory(err);
	t->known[t->nknown++] = (struct known){ .ino = (uint32_t)obj->st.st_ino,
		.local.family = (uint16_t)family };
	return 0;
}

static int tcp_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct net_kind kind = net_kind(obj);
	int r;

	if ((kind.family != AF_INET && kind.family != AF_INET6) || kind.protocol != IPPROTO_TCP ||
	    kind.type != SOCK_STREAM)
		return CRCORE_CLAIM_NONE;
	r = remember(state, obj, kind.family, err);
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

/* Undo entry, for failures only: the next one sees it. */
static void note_failure(void *state) { ((struct tcp *)state)->failed = true; }

int tcp_at_end(struct tcp *t, void (*fn)(void *), struct crcore_error *err)
{
	int r = t->host->undo(t->ctx, fn, t, true, err);

	return r ? r : t->host->undo(t->ctx, note_failure, t, false, err);
}

static int tcp_release(void *state, struct crcore_error *err)
{
	struct tcp *t = state;

	return t->nmade ? tcp_restore_release(t, err) : tcp_dump_release(t, err);
}

static const char *const verdicts[] = { "keep", "close", "reset", "refuse", NULL };
static const char *const in_flight[] = { "as-established", "refuse", "drop", "keep", NULL };
static const char *const listening[] = { "open", "hold", NULL };
static const struct crcore_option options[] = {
	{ .name = "established", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = verdicts,
	  .help = "connections whose other end is outside the tree: keep; close (its reads then end, "
	          "its writes fail); reset; refuse" },
	{ .name = "connections", .type = CRCORE_MAP,
	  .help = "the same for some: \"in local *:22\", \"out remote 10.0.0.0/8:5432\"; the first "
	          "pattern that matches counts" },
	{ .name = "in-flight", .type = CRCORE_CHOICE, .default_value = "as-established",
	  .choices = in_flight,
	  .help = "connections from outside that wait to be accepted: refuse; drop (they are reset); "
	          "keep (they wait again after the restore); as-established: what that option says, "
	          "where close and reset drop them. Those that are just being made: refuse, else "
	          "drop" },
	{ .name = "listening", .type = CRCORE_CHOICE, .default_value = "open", .choices = listening,
	  .help = "dump that ends the tree: what becomes of those who connect to it before it is "
	          "restored: open (they are refused, and who got in last is reset) or hold (they "
	          "wait)" },
	{ .name = "address-map", .type = CRCORE_MAP,
	  .help = "restore: use another address in place of one, or another prefix of the same "
	          "length" },
	{ .name = NULL },
};

static const struct crcore_field socket_fields[] = {
	{ 5001, CRCORE_ADDRESS, "local" }, { 6001, CRCORE_ADDRESS, "remote" },
	{ 0 },
};
static const struct crcore_field backlog_fields[] = {
	{ 2001, CRCORE_ADDRESS, "local" }, { 3001, CRCORE_ADDRESS, "remote" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "socket", .version = 1, .fields = socket_fields },
	{ .name = "lock", .version = 1 },
	{ .name = "backlog", .version = 1, .fields = backlog_fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_NET_ADMIN, "for TCP_REPAIR and the network lock" },
	{ CAP_NET_RAW, "to tell a restored connection what its peer has said already" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK), "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "tcp",
	.version = "1",
	.summary = "TCP sockets and their connections",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "TCP sockets (exact)",
	.open = tcp_open,
	.close = tcp_close,
	.claim = tcp_claim,
	.review = tcp_review,
	.hold = tcp_hold,
	.save_object = tcp_save_object,
	.save = tcp_save,
	.load_record = tcp_load_record,
	.check = tcp_check,
	.prepare = tcp_prepare,
	.create = tcp_create,
	.release = tcp_release,
};
