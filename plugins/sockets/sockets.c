/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "sockets": options, sections and what it claims. See sockets.h, sockets.md. */
#include "sockets.h"
#include "plugins/net/claim.h"

#include <linux/capability.h>
#include <sys/ioctl.h>

static int sockets_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                        struct crcore_error *err)
{
	const struct crcore_value *outside = host->option(ctx, "external-unix");
	struct sockets *s;

	for (unsigned i = 0; outside->list && outside->list[i]; i += 2) {
		const char *what = outside->list[i + 1];
		if (strcmp(what, "refuse") && strcmp(what, "close") && strcmp(what, "reconnect") &&
		    strcmp(what, "inherit"))
			return crcore_fail(err, -EINVAL, "external-unix: %s: \"%s\" is none of refuse, close, "
			                   "reconnect, inherit", outside->list[i], what);
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return crcore_no_memory(err);
	s->host = host;
	s->ctx = ctx;
	s->outside = outside;
	s->moved = -1;
	*ret_state = s;
	return 0;
}

static void sockets_close(void *state)
{
	struct sockets *s = state;

	graph_free(&s->graph);
	race_forget(&s->later);
	net_usual_free(&s->usual);
	for (unsigned i = 0; i < s->nmade; i++)
		made_free(s->made[i]);
	free(s->made);
	free(s->refused);
	flight_free(s);
	free(s->known);
	free(s->buf);
	free(s->out);
	free(s);
}

/* -- claim --------------------------------------------------------------------- */

/* Known by other plugins, if they are loaded: an exact claim wins over this refusal. */
static const char *plugin_for(int family, int type)
{
	bool inet = family == AF_INET || family == AF_INET6;

	if (inet)
		return type == SOCK_STREAM ? "tcp" : type == SOCK_DGRAM || type == SOCK_RAW ? "udp" : NULL;
	return family == AF_NETLINK ? "netlink" : family == AF_PACKET ? "packet" : NULL;
}

static int refuse_family(int family, int type, struct crcore_error *err)
{
	const char *plugin = plugin_for(family, type);

	if (plugin) {
		crcore_advise(err, "load the plugin %s (--plugins=+%s), or close it before the dump",
		              plugin, plugin);
		return crcore_fail(err, -ENOTSUP, "it needs the plugin %s, which is not loaded", plugin);
	}
	crcore_advise(err, "close it before the dump");
	return crcore_fail(err, -ENOTSUP, "sockets of address family %d, type %d, cannot be saved",
	                   family, type);
}

static int check_unix(struct sockets *s, const struct crcore_object *obj, struct crcore_error *err)
{
	int r = net_filter_check(obj->local_fd, err);

	return !r && flight_count(obj) ? flight_note(s, obj, err) : r;
}

static void remember(struct sockets *s, ino_t ino)
{
	void *more = realloc(s->refused, (s->nrefused + 1) * sizeof(*s->refused));

	if (!more) /* then its peer is refused too, for the wrong reason */
		return;
	s->refused = more;
	s->refused[s->nrefused++] = (uint32_t)ino;
}

static int sockets_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct net_kind kind = net_kind(obj);
	int r;

	if (!kind.family)
		return CRCORE_CLAIM_NONE;
	r = kind.family == AF_UNIX ? check_unix(state, obj, err)
	                           : refuse_family(kind.family, kind.type, err);
	if (r < 0) {
		remember(state, obj->st.st_ino);
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
		return r;
	}
	return CRCORE_CLAIM_EXACT;
}

/* They know why they cannot take one: the first refusal is the one that is told. */
static const char *const others[] = { "?netlink", "?packet", "?tcp", "?udp", NULL };
static const struct crcore_order order[] = {
	{ .stage = "claim", .after = others },
	{ .stage = NULL },
};

static const struct crcore_option options[] = {
	{ .name = "external-unix", .type = CRCORE_MAP,
	  .help = "UNIX sockets whose peer is outside the tree, by a pattern of its path, \"@name\" or "
	          "\"\" for none: refuse, close (as if the peer had closed), reconnect or inherit" },
	{ .name = "inherit-fd", .type = CRCORE_LIST,
	  .help = "fd[N]:RESOURCE: descriptor N of crcore takes the place of the socket whose peer "
	          "has that path or \"@name\", or that was called socket:[INODE]" },
	{ .name = NULL },
};

static const struct crcore_field unix_fields[] = {
	{ 6, CRCORE_PATH, "name" }, { 7, CRCORE_PATH, "dir" }, { 19, CRCORE_PATH, "peer_name" },
	{ 33, CRCORE_PLAIN, "label" },
	{ 20002, CRCORE_PATH, "from" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "unix", .version = 1, .fields = unix_fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_NET_ADMIN, "to see the file of a bound socket, and to give it large buffers" },
	{ CAP_CHOWN, "to give a socket back the owner that it had" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK), "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "sockets",
	.version = "1",
	.summary = "UNIX sockets with what waits in them",
	.options = options,
	.sections = sections,
	.order = order,
	.needs = needs,
	.claims = "UNIX sockets (exact)",
	.open = sockets_open,
	.close = sockets_close,
	.claim = sockets_claim,
	.review = sockets_review,
	.save_object = sockets_save_object,
	.save = sockets_save,
	.load_record = sockets_load_record,
	.check = sockets_check,
	.create = sockets_create,
	.settle = sockets_settle,
	.release = sockets_release,
};
