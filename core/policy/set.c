/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags: an overlay on what the files say. A flag's value is a node like any
 * other, with the flag as its origin and no position.
 */
#include "core/policy/internal.h"
#include "core/policy/core_options.h"
#include "core/util/nearest.h"
#include "core/util/util.h"
#include <limits.h>

static int flag_fail(struct crcore_error *err, const char *origin, int code)
{
	crcore_fail_at(err, -1, -1, "%s", origin);
	return code;
}

static int check_text(const char *origin, const char *text, struct crcore_error *err)
{
	if (text_is_clean(text))
		return 0;
	return flag_fail(err, origin,
	                 crcore_fail(err, -EINVAL,
	                             "its value is not one line of printable UTF-8 text"));
}

static int plugin_missing(struct policy *p, const char *plugin, const char *origin,
                          struct crcore_error *err)
{
	struct nearest near = NEAREST_INIT(plugin);
	const char *name;

	for (unsigned i = 0; (name = policy_plugin(p, i)); i++)
		nearest_try(&near, name);
	if (near.best)
		crcore_advise(err, "did you mean '%s'? Or add '%s' to 'plugins' in the policy, or "
		              "--plugins=+%s", near.best, plugin, plugin);
	else
		crcore_advise(err, "add '%s: {}' to 'plugins' in the policy, or --plugins=+%s", plugin,
		              plugin);
	crcore_fail(err, -ENOENT, "needs the plugin '%s', which the policy does not name", plugin);
	return flag_fail(err, origin, -ENOENT);
}

/* The element that is added to the list or map that is there. */
static int append(struct policy *p, struct node *map, const char *key, const char *text,
                  const char *origin, struct crcore_error *err)
{
	struct node *old = node_find(map, key);
	const char *equals = strchr(text, '=');
	struct node *item;
	int r = 0;

	if (old && old->type == NODE_MAP && (!equals || equals == text)) {
		crcore_advise(err, "write it as KEY=VALUE");
		crcore_fail(err, -EINVAL, "'%s' is no pair for '%s'", text, key);
		return flag_fail(err, origin, -EINVAL);
	}
	if (old && old->type == NODE_MAP) {
		cleanup_free char *k = strndup(text, (size_t)(equals - text));
		if (k && strlen(k) > POLICY_KEY_LEN_MAX)
			return flag_fail(err, origin,
			                 crcore_fail(err, -EINVAL, "the key of a pair is too long"));
		return k ? node_put(p, old, k, node_scalar(equals + 1, origin), err) :
		           crcore_no_memory(err);
	}
	/* A default is not added to but replaced: the flag is the first to say something. */
	if (!old || old->type != NODE_LIST || old->origin == origin_builtin) {
		r = node_put(p, map, key, node_new(NODE_LIST, origin, 0, 0), err);
		old = node_find(map, key);
	}
	item = r < 0 ? NULL : node_scalar(text, origin);
	if (!item)
		return r < 0 ? r : crcore_no_memory(err);
	node_append(old, item);
	return 0;
}

/* Nodes for a list of the core's: text is added to it, or all of it. */
static int set_core_list(struct policy *p, struct node *map, const char *key, const char *text,
                         bool append_, const char *origin, struct crcore_error *err)
{
	int r = append_ ? 0 : node_put(p, map, key, node_new(NODE_LIST, origin, 0, 0), err);

	if (r >= 0)
		r = append(p, map, key, text, origin, err);
	return r < 0 ? r : policy_refresh_core(p, err);
}

static int set_core(struct policy *p, const char *key, const char *text, bool append_,
                    const char *origin, struct crcore_error *err)
{
	const struct crcore_option *o = core_option_find(key);
	struct crcore_value ignored;
	char section[20];

	if (!o) {
		struct nearest near = NEAREST_INIT(key);
		for (o = core_options; o->name; o++)
			nearest_try(&near, o->name);
		if (near.best)
			crcore_advise(err, "did you mean '%s'?", near.best);
		crcore_fail(err, -EINVAL, "there is no option '%s'", key);
		return flag_fail(err, origin, -EINVAL);
	}
	const char *dot = strchr(key, '.');
	snprintf(section, sizeof(section), "%.*s", (int)(dot - key), key);
	struct node *map = node_find(p->root, section);
	if (o->type == CRCORE_LIST)
		return set_core_list(p, map, dot + 1, text, append_, origin, err);
	if (append_) {
		crcore_advise(err, "write %s=%s", key, text);
		crcore_fail(err, -EINVAL, "'%s' has one value, to which nothing can be added", key);
		return flag_fail(err, origin, -EINVAL);
	}
	struct node *n = node_scalar(text, origin);
	int r = n ? policy_parse_value(o, n, &ignored, err) : crcore_no_memory(err);
	if (r < 0) {
		node_free(n);
		return r;
	}
	r = node_put(p, map, dot + 1, n, err);
	return r < 0 ? r : policy_refresh_core(p, err);
}

int policy_set(struct policy *p, const char *plugin, const char *key, const char *text,
               bool append_, const char *origin, struct crcore_error *err)
{
	const char *o = policy_intern(p, origin);
	int r = o ? check_text(o, text, err) : crcore_no_memory(err);

	if (r >= 0)
		r = check_text(o, key, err);
	if (r < 0)
		return r;
	if (!plugin)
		return set_core(p, key, text, append_, o, err);
	struct node *map = policy_plugin_node(p, plugin);
	if (!map)
		return plugin_missing(p, plugin, o, err);
	if (!*key || strlen(key) > POLICY_KEY_LEN_MAX)
		return flag_fail(err, o, crcore_fail(err, -EINVAL, "it names no option"));
	return append_ ?
	       append(p, map, key, text, o, err) : node_put(p, map, key, node_scalar(text, o), err);
}

/* An item of --plugins: its name, or its path made whole. */
static int plugin_item(const char *item, char *ret, size_t len, struct crcore_error *err)
{
	static const struct node where = { .origin = "--plugins" };
	char path[PATH_MAX];

	if (strchr(item, '/')) {
		if (!realpath(item, path) || strlen(path) > POLICY_KEY_LEN_MAX) {
			int code = strlen(item) > POLICY_KEY_LEN_MAX ? -ENAMETOOLONG : -errno;
			return node_fail(&where, err, code, "cannot find plugin '%s': %s", item,
			                 strerror(-code));
		}
		item = path;
	}
	snprintf(ret, len, "%s", item);
	int r = check_plugin_name(&where, ret, err);
	return r < 0 ? r : check_text("--plugins", ret, err);
}

static int remove_plugin(struct policy *p, struct node *map, const char *name,
                         struct crcore_error *err)
{
	struct node *n = policy_plugin_node(p, name);

	if (!n)
		return plugin_missing(p, name, "--plugins", err);
	node_retire(p, map, n);
	return 0;
}

/* Puts name at the end of to, with its options if from has any. */
static int add_plugin(struct policy *p, struct node *from, struct node *to, const char *name,
                      const char *origin, struct crcore_error *err)
{
	struct node *old = from ? node_find(from, name) : NULL;

	if (node_find(to, name)) {
		crcore_fail(err, -EEXIST, "names plugin '%s' twice", name);
		return flag_fail(err, origin, -EEXIST);
	}
	if (!old)
		return node_put(p, to, name, node_new(NODE_MAP, origin, 0, 0), err);
	for (struct node **link = &from->child; *link; link = &(*link)->next)
		if (*link == old) {
			*link = old->next;
			break;
		}
	old->next = NULL;
	node_append(to, old);
	return 0;
}

static int one_item(struct policy *p, struct node *from, struct node *to, char *item,
                    const char *origin, struct crcore_error *err)
{
	char sign = *item == '+' || *item == '-' ? *item : 0;
	char name[POLICY_KEY_LEN_MAX + 1];
	int r;

	if (sign && from) {
		crcore_advise(err, "write '+a,-b' to change what the policy names, 'a,b' to replace it");
		crcore_fail(err, -EINVAL, "mixes names with '+' or '-' and names without");
		return flag_fail(err, origin, -EINVAL);
	}
	r = plugin_item(item + (sign != 0), name, sizeof(name), err);
	if (r < 0)
		return r;
	if (sign == '-')
		return remove_plugin(p, to, name, err);
	/* "+a" where the policy names a already changes nothing. */
	return sign && node_find(to, name) ? 0 : add_plugin(p, from, to, name, origin, err);
}

int policy_set_plugins(struct policy *p, const char *list, struct crcore_error *err)
{
	const char *origin = policy_intern(p, "--plugins");
	cleanup_free char *copy = strdup(list);
	bool exact = *list != '+' && *list != '-';
	struct node *map = node_find(p->root, "plugins"), *from = NULL;
	char *next = copy, *item;
	int r = 0;

	if (!origin || !copy)
		return crcore_no_memory(err);
	if (exact) { /* what is not named stays behind, retired */
		from = map;
		r = node_put(p, p->root, "plugins", node_new(NODE_MAP, origin, 0, 0), err);
		map = node_find(p->root, "plugins");
	}
	while (r >= 0 && *list && (item = strsep(&next, ",")))
		r = one_item(p, from, map, item, origin, err);
	return r;
}
