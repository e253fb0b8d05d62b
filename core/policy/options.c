/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options: a map of the policy against a table of what is allowed in it. An
 * option that the policy does not name gets its default as a node "built in",
 * so that all that is in force can be printed and a value has one owner.
 */
#include "core/policy/internal.h"
#include "core/policy/core_options.h"
#include "core/util/nearest.h"
#include "core/util/util.h"

/* The host reads it; it is in no table. */
static const char reserved[] = "time-limit";

static const char *without(const char *name, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(name, prefix, n) ? NULL : name + n;
}

static int unknown_key(const struct node *n, const char *owner, const struct crcore_option *table,
                       const char *prefix, struct crcore_error *err)
{
	struct nearest near = NEAREST_INIT(n->key);
	char list[240] = "";
	size_t len = 0;

	for (const struct crcore_option *o = table; o && o->name; o++) {
		const char *name = without(o->name, prefix);
		if (!name)
			continue;
		nearest_try(&near, name);
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", name);
	}
	if (near.best)
		crcore_advise(err, "did you mean '%s'?", near.best);
	else if (len)
		crcore_advise(err, "there are: %s", list);
	else
		crcore_advise(err, "it has no options");
	return node_fail(n, err, -EINVAL, "unknown key '%s': no such option of %s", n->key, owner);
}

int options_check_keys(const struct node *map, const char *owner, const struct crcore_option *table,
                       const char *prefix, struct crcore_error *err)
{
	for (const struct node *c = map->child; c; c = c->next) {
		bool known = !*prefix && !strcmp(c->key, reserved);
		for (const struct crcore_option *o = table; !known && o && o->name; o++) {
			const char *name = without(o->name, prefix);
			known = name && !strcmp(name, c->key);
		}
		if (!known)
			return unknown_key(c, owner, table, prefix, err);
	}
	return 0;
}

/* "KEY=VALUE" of a flag, as an element of a map. */
static int add_pair(struct policy *p, struct node *map, const struct node *pair, const char *option,
                    struct crcore_error *err)
{
	const char *equals = strchr(pair->text, '=');
	cleanup_free char *key = equals ? strndup(pair->text, (size_t)(equals - pair->text)) : NULL;

	if (equals && !key)
		return crcore_no_memory(err);
	if (!key || !*key || strlen(key) > POLICY_KEY_LEN_MAX) {
		crcore_advise(err, "write it as KEY=VALUE");
		return node_fail(pair, err, -EINVAL, "'%s' is no pair for '%s'", pair->text, option);
	}
	return node_put(p, map, key, node_scalar(equals + 1, pair->origin), err);
}

/*
 * A flag does not know types: what it sets is one value, what it adds is in a
 * list. Makes that the list or map that the option is.
 */
static int widen_flag(struct policy *p, struct node *map, const struct crcore_option *o,
                      struct node **n, struct crcore_error *err)
{
	struct node *old = *n;
	enum node_type want = o->type == CRCORE_MAP ? NODE_MAP : NODE_LIST;
	int r;

	if ((o->type != CRCORE_LIST && o->type != CRCORE_MAP) || old->line || old->type == want ||
	    old->origin == origin_builtin || node_is_empty(old))
		return 0;
	/* From here on old is kept alive by the policy. */
	r = node_put(p, map, o->name, node_new(want, old->origin, 0, 0), err);
	if (r < 0)
		return r;
	*n = node_find(map, o->name);
	struct node *item = old->type == NODE_LIST ? old->child : old;
	for (; r >= 0 && item; item = old->type == NODE_LIST ? item->next : NULL) {
		if (want == NODE_MAP) {
			r = add_pair(p, *n, item, o->name, err);
			continue;
		}
		struct node *copy = node_scalar(item->text, item->origin);
		if (!copy)
			return crcore_no_memory(err);
		node_append(*n, copy);
	}
	return r;
}

static int one_option(struct policy *p, struct node *map, const struct crcore_option *o,
                      struct crcore_value *ret, struct crcore_error *err)
{
	struct node *n = node_find(map, o->name);
	int r = n ? widen_flag(p, map, o, &n, err) : default_node(o, &n, err);

	if (r < 0)
		return r;
	if (n->origin == origin_builtin && node_find(map, o->name) != n)
		r = node_put(p, map, o->name, n, err);
	if (r < 0)
		return r;
	n->used = true;
	return policy_parse_value(o, n, ret, err);
}

int policy_options(struct policy *p, const char *plugin, const struct crcore_option *table,
                   struct crcore_value *ret_values, struct crcore_error *err)
{
	struct node *map = policy_plugin_node(p, plugin);
	int r;

	if (!map)
		return crcore_fail(err, -ENOENT, "the policy does not name plugin '%s'", plugin);
	r = options_check_keys(map, plugin, table, "", err);
	for (unsigned i = 0; r >= 0 && table && table[i].name; i++)
		r = one_option(p, map, &table[i], &ret_values[i], err);
	return r;
}

int policy_refresh_core(struct policy *p, struct crcore_error *err)
{
	for (unsigned i = 0; core_options[i].name; i++) {
		const char *dot = strchr(core_options[i].name, '.');
		char section[20];
		snprintf(section, sizeof(section), "%.*s", (int)(dot - core_options[i].name),
		         core_options[i].name);
		struct node *n = node_find(node_find(p->root, section), dot + 1);
		int r = n ? policy_parse_value(&core_options[i], n, &p->core[i], err) : -ENOENT;
		if (r < 0)
			return r;
	}
	return 0;
}

const struct crcore_value *policy_core(struct policy *p, const char *key)
{
	for (unsigned i = 0; core_options[i].name; i++)
		if (!strcmp(core_options[i].name, key))
			return &p->core[i];
	return NULL;
}
