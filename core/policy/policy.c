/* SPDX-License-Identifier: Apache-2.0 */
/* A policy as a whole: making it, loading files over it, its plugins and their order. */
#include "core/policy/internal.h"
#include "core/policy/core_options.h"
#include "core/util/util.h"
#include <fcntl.h>

const char *policy_intern(struct policy *p, const char *s)
{
	for (struct text *t = p->texts; t; t = t->next)
		if (!strcmp(t->s, s))
			return t->s;
	struct text *t = malloc(sizeof(*t) + strlen(s) + 1);
	if (!t)
		return NULL;
	strcpy(t->s, s);
	t->next = p->texts;
	p->texts = t;
	return t->s;
}

/* version, name, and every option of the core with its default. */
static int fill_defaults(struct policy *p, struct crcore_error *err)
{
	int r = node_put(p, p->root, "version", node_scalar(POLICY_VERSION, origin_builtin), err);

	if (r >= 0)
		r = node_put(p, p->root, "name", node_scalar("", origin_builtin), err);
	for (const struct crcore_option *o = core_options; r >= 0 && o->name; o++) {
		const char *dot = strchr(o->name, '.');
		char section[20];
		struct node *n = NULL;
		snprintf(section, sizeof(section), "%.*s", (int)(dot - o->name), o->name);
		struct node *map = node_find(p->root, section);
		if (!map) {
			r = node_put(p, p->root, section, node_new(NODE_MAP, origin_builtin, 0, 0), err);
			map = node_find(p->root, section);
		}
		if (r >= 0)
			r = default_node(o, &n, err);
		if (r >= 0)
			r = node_put(p, map, dot + 1, n, err);
	}
	if (r >= 0)
		r = node_put(p, p->root, "plugins", node_new(NODE_MAP, origin_builtin, 0, 0), err);
	return r;
}

struct policy *policy_new(void)
{
	struct policy *p = calloc(1, sizeof(*p));
	unsigned n = 0;

	while (core_options[n].name)
		n++;
	if (!p)
		return NULL;
	p->root = node_new(NODE_MAP, origin_builtin, 0, 0);
	p->core = calloc(n, sizeof(*p->core));
	if (!p->root || !p->core || fill_defaults(p, NULL) < 0 || policy_refresh_core(p, NULL) < 0) {
		policy_free(p);
		return NULL;
	}
	return p;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (struct node *n = p->retired, *next; n; n = next) {
		next = n->next;
		node_free(n);
	}
	for (struct text *t = p->texts, *next; t; t = next) {
		next = t->next;
		free(t);
	}
	node_free(p->root);
	free(p->core);
	free(p);
}

int policy_load_bytes(struct policy *p, const char *origin, const void *bytes, size_t len,
                      struct crcore_error *err)
{
	struct node *root = NULL;
	const char *o = policy_intern(p, origin);
	int r = o ? load_nodes(o, bytes, len, &root, err) : crcore_no_memory(err);

	if (r >= 0)
		r = check_policy(root, err);
	if (r < 0) {
		node_free(root);
		return r;
	}
	node_merge(p, p->root, root);
	return policy_refresh_core(p, err);
}

/* Reads at most one byte more than a policy may have. Any file will do: <(command) is one. */
static int read_all(const char *path, char **ret, size_t *ret_len, struct crcore_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	cleanup_free char *buf = malloc(POLICY_BYTES_MAX + 1);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	if (!buf)
		return crcore_no_memory(err);
	while (n > 0 && len <= POLICY_BYTES_MAX) {
		n = read(fd, buf + len, POLICY_BYTES_MAX + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		int code = -errno;
		crcore_fail_at(err, -1, -1, "%s", path);
		return crcore_fail(err, code, "cannot read the policy: %s", strerror(-code));
	}
	*ret = STEAL(buf);
	*ret_len = len;
	return 0;
}

int policy_load(struct policy *p, const char *path, struct crcore_error *err)
{
	cleanup_free char *bytes = NULL;
	size_t len = 0;
	int r = read_all(path, &bytes, &len, err);

	return r < 0 ? r : policy_load_bytes(p, path, bytes, len, err);
}

const char *policy_plugin(const struct policy *p, unsigned i)
{
	const struct node *map = node_find(p->root, "plugins");
	const struct node *n = map ? map->child : NULL;

	while (n && i--)
		n = n->next;
	return n ? n->key : NULL;
}

/* Is name what a plugin of this path would be called? "acme" for /x/acme.so and /x/libacme.so */
static bool path_matches(const char *path, const char *name)
{
	const char *base = strrchr(path, '/');
	size_t n = strlen(name);

	if (!base++)
		return false;
	if (!strncmp(base, "lib", 3) && strncmp(name, "lib", 3))
		base += 3;
	return !strncmp(base, name, n) && (!base[n] || !strcmp(base + n, ".so"));
}

struct node *policy_plugin_node(struct policy *p, const char *name)
{
	struct node *map = node_find(p->root, "plugins");
	struct node *n = node_find(map, name);

	for (struct node *c = map ? map->child : NULL; !n && c; c = c->next)
		if (path_matches(c->key, name))
			n = c;
	return n;
}

typedef int order_fn(void *arg, const char *stage, const char *plugin, bool before,
                     const char *other, const struct node *where);

/* { PLUGIN: { before: ..., after: ... } } */
static int order_entry(const struct node *entry, const char *stage, order_fn *fn, void *arg)
{
	int r = 0;

	for (const struct node *plugin = entry->child; plugin; plugin = plugin->next)
		for (const struct node *way = plugin->child; way; way = way->next) {
			const struct node *n = way->type == NODE_LIST ? way->child : way;
			for (; r >= 0 && n; n = way->type == NODE_LIST ? n->next : NULL)
				r = fn(arg, stage, plugin->key, !strcmp(way->key, "before"), n->text, n);
		}
	return r;
}

int policy_order(const struct policy *p, order_fn *fn, void *arg)
{
	const struct node *order = node_find(p->root, "order");
	int r = 0;

	for (const struct node *stage = order ? order->child : NULL; stage; stage = stage->next) {
		if (stage->type != NODE_LIST) {
			r = order_entry(stage, stage->key, fn, arg);
		} else {
			for (const struct node *c = stage->child; r >= 0 && c; c = c->next)
				r = order_entry(c, stage->key, fn, arg);
		}
		if (r < 0)
			return r;
	}
	return 0;
}
