/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options: a map of the policy against a table of what is allowed in it. An
 * option that the policy does not name gets its default as a node "built in",
 * so that all that is in force can be printed and a value has one owner.
 */
#include "core/policy/internal.h"
#include "core/policy/core_options.h"
#include "core/policy/nearest.h"
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

/* "a,b" from a flag is one word; an option that is a list or a map takes it as its only element. */
static int widen_flag(struct policy *p, struct node *map, const struct crcore_option *o,
                      struct node **n, struct crcore_error *err)
{
	if ((*n)->type != NODE_SCALAR || (*n)->line || node_is_empty(*n) ||
	    (o->type != CRCORE_LIST && o->type != CRCORE_MAP))
		return 0;
	const char *equals = strchr((*n)->text, '=');
	if (o->type == CRCORE_MAP && (!equals || equals == (*n)->text)) {
		crcore_advise(err, "write it as KEY=VALUE");
		return node_fail(*n, err, -EINVAL, "'%s' is no pair for '%s'", (*n)->text, o->name);
	}
	struct node *outer = node_new(o->type == CRCORE_MAP ? NODE_MAP : NODE_LIST, (*n)->origin, 0, 0);
	struct node *inner = node_scalar(o->type == CRCORE_MAP ? equals + 1 : (*n)->text, (*n)->origin);
	if (!outer || !inner) {
		node_free(outer);
		node_free(inner);
		return policy_no_memory(err);
	}
	node_append(outer, inner);
	if (o->type == CRCORE_MAP &&
	    !(inner->key = strndup((*n)->text, (size_t)(equals - (*n)->text)))) {
		node_free(outer);
		return policy_no_memory(err);
	}
	*n = outer;
	return node_put(p, map, o->name, outer, err);
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
