/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a tree of nodes a policy? Everything that can be told without the plugins
 * is told here, before the tree is merged, so that a file that is wrong changes
 * nothing. What a plugin's own options may be is checked by policy_options().
 */
#include "core/policy/internal.h"
#include "core/policy/core_options.h"
#include "core/util/nearest.h"
#include "core/util/util.h"

static const char *const type_words[] = {
	[NODE_SCALAR] = "a value", [NODE_LIST] = "a list", [NODE_MAP] = "a map",
};

static int want_type(const struct node *n, enum node_type type, const char *what,
                     struct crcore_error *err)
{
	if (n->type == type)
		return 0;
	return node_fail(n, err, -EINVAL, "%s must be %s, not %s", what, type_words[type],
	                 type_words[n->type]);
}

/* "KEY:" with nothing behind it means "KEY: {}". */
static void empty_to_map(struct node *n)
{
	if (n->type == NODE_SCALAR && node_is_empty(n)) {
		free(STEAL(n->text));
		n->type = NODE_MAP;
	}
}

static int check_version(struct node *n, struct crcore_error *err)
{
	int r = want_type(n, NODE_SCALAR, "'version'", err);

	if (r < 0)
		return r;
	if (strcmp(n->text, POLICY_VERSION)) {
		crcore_advise(err, "this crcore reads 'version: " POLICY_VERSION "'");
		return node_fail(n, err, -EINVAL, "unknown version '%s' of a policy", n->text);
	}
	return 0;
}

static int check_name(struct node *n, struct crcore_error *err)
{
	return want_type(n, NODE_SCALAR, "'name'", err);
}

int check_plugin_name(const struct node *where, const char *name, struct crcore_error *err)
{
	if (name[0] == '/')
		return 0;
	if (strchr(name, '/')) {
		crcore_advise(err, "write the whole path, beginning with /");
		return node_fail(where, err, -EINVAL, "relative path '%s' of a plugin", name);
	}
	if (!name[0] || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(name)) {
		crcore_advise(err, "a name has a-z, 0-9 and '-'; anything else is a path that begins with "
		              "/");
		return node_fail(where, err, -EINVAL, "'%s' is not the name of a plugin", name);
	}
	return 0;
}

static int check_plugins(struct node *n, struct crcore_error *err)
{
	int r = want_type(n, NODE_MAP, "'plugins'", err);

	if (n->type == NODE_LIST)
		crcore_advise(err, "write 'NAME: {}' for a plugin without options");
	for (struct node *c = n->child; r >= 0 && c; c = c->next) {
		r = check_plugin_name(c, c->key, err);
		if (r < 0)
			break;
		empty_to_map(c);
		if (c->type != NODE_MAP)
			r = node_fail(c, err, -EINVAL, "the options of plugin '%s' must be a map, not %s",
			              c->key, type_words[c->type]);
	}
	return r;
}

/* before: NAME, or before: [ NAME, ... ] */
static int check_order_names(struct node *n, struct crcore_error *err)
{
	if (strcmp(n->key, "before") && strcmp(n->key, "after")) {
		crcore_advise(err, "write 'PLUGIN: { before: [ NAME ] }' or 'after'");
		return node_fail(n, err, -EINVAL, "unknown key '%s' in 'order'", n->key);
	}
	if (n->type == NODE_SCALAR)
		return n->text[0] ? 0 : node_fail(n, err, -EINVAL, "'%s' names nobody", n->key);
	int r = want_type(n, NODE_LIST, "'before' and 'after'", err);
	for (struct node *c = n->child; r >= 0 && c; c = c->next) {
		r = want_type(c, NODE_SCALAR, "the name of a plugin", err);
		if (r >= 0 && !c->text[0])
			r = node_fail(c, err, -EINVAL, "the name of a plugin is empty");
	}
	return r;
}

/* { PLUGIN: { before: ..., after: ... } } */
static int check_order_entry(struct node *n, struct crcore_error *err)
{
	int r = want_type(n, NODE_MAP, "an entry of 'order'", err);

	for (struct node *plugin = n->child; r >= 0 && plugin; plugin = plugin->next) {
		r = want_type(plugin, NODE_MAP, "what 'order' says about a plugin", err);
		for (struct node *c = plugin->child; r >= 0 && c; c = c->next)
			r = check_order_names(c, err);
	}
	return r;
}

static int check_order(struct node *n, struct crcore_error *err)
{
	int r = want_type(n, NODE_MAP, "'order'", err);

	for (struct node *stage = n->child; r >= 0 && stage; stage = stage->next) {
		if (stage->type != NODE_LIST) {
			r = check_order_entry(stage, err);
			continue;
		}
		for (struct node *c = stage->child; r >= 0 && c; c = c->next)
			r = check_order_entry(c, err);
	}
	return r;
}

/* dump: and restore: hold options of the core, which has its table at hand. */
static int check_core(struct node *n, struct crcore_error *err)
{
	char what[40], prefix[40];
	int r;

	snprintf(what, sizeof(what), "'%s'", n->key);
	r = want_type(n, NODE_MAP, what, err);
	if (r < 0)
		return r;
	snprintf(prefix, sizeof(prefix), "%s.", n->key);
	r = options_check_keys(n, n->key, core_options, prefix, err);
	for (struct node *c = n->child; r >= 0 && c; c = c->next) {
		char key[sizeof(prefix) + POLICY_KEY_LEN_MAX];
		struct crcore_value ignored;
		snprintf(key, sizeof(key), "%s%s", prefix, c->key);
		r = policy_parse_value(core_option_find(key), c, &ignored, err);
	}
	return r;
}

static const struct {
	const char *key;
	bool map; /* and may be empty */
	int (*check)(struct node *, struct crcore_error *);
} sections[] = {
	{ "version", false, check_version }, /* first: the rest is of that version */
	{ "name", false, check_name },
	{ "dump", true, check_core },
	{ "restore", true, check_core },
	{ "plugins", true, check_plugins },
	{ "order", true, check_order },
};

static int check_keys(const struct node *root, struct crcore_error *err)
{
	for (const struct node *c = root->child; c; c = c->next) {
		struct nearest near = NEAREST_INIT(c->key);
		bool known = false;
		for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
			known |= !strcmp(sections[i].key, c->key);
			nearest_try(&near, sections[i].key);
		}
		if (known)
			continue;
		if (near.best)
			crcore_advise(err, "did you mean '%s'?", near.best);
		else
			crcore_advise(err, "there are version, name, dump, restore, plugins, order");
		return node_fail(c, err, -EINVAL, "unknown key '%s' in a policy", c->key);
	}
	return 0;
}

int check_policy(struct node *root, struct crcore_error *err)
{
	struct node *version = node_find(root, "version");
	int r = want_type(root, NODE_MAP, "a policy", err);

	if (r >= 0 && !version) {
		crcore_advise(err, "begin it with 'version: " POLICY_VERSION "'");
		r = node_fail(root, err, -EINVAL, "'version' is missing");
	}
	if (r >= 0)
		r = check_version(version, err);
	if (r >= 0)
		r = check_keys(root, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(sections); i++) {
		struct node *n = node_find(root, sections[i].key);
		if (!n)
			continue;
		if (sections[i].map)
			empty_to_map(n);
		r = sections[i].check(n, err);
	}
	return r;
}
