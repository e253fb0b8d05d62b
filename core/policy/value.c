/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values: from a node's text to the type that an option has. Strict: what is
 * not wholly understood is refused, with the position and what would be right.
 */
#include "core/policy/internal.h"
#include "core/util/nearest.h"
#include "core/util/util.h"
#include <strings.h>

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 }, { "B", 1 },
	{ "KiB", 1LL << 10 }, { "MiB", 1LL << 20 }, { "GiB", 1LL << 30 }, { "TiB", 1LL << 40 },
	{ "K", 1LL << 10 }, { "M", 1LL << 20 }, { "G", 1LL << 30 }, { "T", 1LL << 40 },
	{ "kB", 1000 }, { "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 },
	{ "TB", 1000000000000 },
	{ NULL, 0 },
};

static const struct unit time_units[] = {
	{ "s", 1000000000 }, { "", 1000000000 }, { "ms", 1000000 }, { "us", 1000 }, { "ns", 1 },
	{ "m", 60000000000 }, { "min", 60000000000 }, { "h", 3600000000000 },
	{ NULL, 0 },
};

static const struct unit no_units[] = { { "", 1 }, { NULL, 0 } };

/* -EINVAL: not a number with one of the units; -ERANGE: too large for 64 bits. */
static int parse_number(const char *text, const struct unit *units, int64_t *ret)
{
	char *end;

	if (!(*text >= '0' && *text <= '9') && !(*text == '-' && text[1] >= '0' && text[1] <= '9'))
		return -EINVAL;
	errno = 0;
	int64_t v = strtoll(text, &end, 10);
	int overflow = errno;
	for (const struct unit *u = units; u->name; u++) {
		if (strcmp(end, u->name))
			continue;
		return overflow || __builtin_mul_overflow(v, u->factor, ret) ? -ERANGE : 0;
	}
	return -EINVAL;
}

/* For people: the largest unit that divides it. */
static const char *show_number(int64_t v, const struct unit *units, char *buf, size_t len)
{
	const struct unit *best = &units[0];

	for (const struct unit *u = units; v && u->name; u++)
		if (v % u->factor == 0 && (u->factor > best->factor || v % best->factor))
			best = u;
	snprintf(buf, len, "%lld%s", (long long)(v / best->factor), best->name);
	return buf;
}

static int parse_ranged(const struct crcore_option *o, const struct node *n,
                        const struct unit *units, const char *example, int64_t *ret,
                        struct crcore_error *err)
{
	bool any = !o->min && !o->max;
	char min[32], max[32];
	int64_t v = 0;
	int r = parse_number(n->text, units, &v);

	if (r == -EINVAL) {
		crcore_advise(err, "write it as %s", example);
		return node_fail(n, err, -EINVAL, "'%s' is no value for '%s'", n->text, o->name);
	}
	if (r < 0 || v < o->min || (!any && v > o->max)) {
		if (any)
			crcore_advise(err, "it must not be negative, or past 63 bits");
		else
			crcore_advise(err, "it must be between %s and %s",
			              show_number(o->min, units, min, sizeof(min)),
			              show_number(o->max, units, max, sizeof(max)));
		return node_fail(n, err, -ERANGE, "'%s' is out of range for '%s'", n->text, o->name);
	}
	*ret = v;
	return 0;
}

static int parse_bool(const struct crcore_option *o, const struct node *n, bool *ret,
                      struct crcore_error *err)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(n->text, words[i])) {
			*ret = i & 1;
			return 0;
		}
	crcore_advise(err, "write yes or no");
	return node_fail(n, err, -EINVAL, "'%s' is no value for '%s'", n->text, o->name);
}

static int parse_choice(const struct crcore_option *o, const struct node *n,
                        struct crcore_value *ret, struct crcore_error *err)
{
	struct nearest near = NEAREST_INIT(n->text);
	char list[200] = "";
	size_t len = 0;

	for (int i = 0; o->choices && o->choices[i]; i++) {
		if (!strcmp(n->text, o->choices[i])) {
			ret->i = i;
			ret->s = o->choices[i];
			return 0;
		}
		nearest_try(&near, o->choices[i]);
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
			                        o->choices[i]);
	}
	if (near.best)
		crcore_advise(err, "did you mean '%s'? There are: %s", near.best, list);
	else
		crcore_advise(err, "there are: %s", list);
	return node_fail(n, err, -EINVAL, "'%s' is no value for '%s'", n->text, o->name);
}

/* Strings of a list, or key and value of each pair of a map, borrowed from the nodes. */
static int parse_strings(const struct crcore_option *o, const struct node *n,
                         struct crcore_value *ret, struct crcore_error *err)
{
	bool map = o->type == CRCORE_MAP;
	/* The array belongs to the node, as its text does. */
	struct node *owner = (struct node *)n;
	unsigned count = 0;

	free(owner->list);
	owner->list = calloc((size_t)node_count(n) * 2 + 1, sizeof(*owner->list));
	if (!owner->list)
		return crcore_no_memory(err);
	for (const struct node *c = n->child; c; c = c->next) {
		if (c->type != NODE_SCALAR)
			return node_fail(c, err, -EINVAL, "what is in '%s' must be plain values", o->name);
		if (map)
			owner->list[count++] = c->key;
		owner->list[count++] = c->text;
	}
	ret->list = owner->list;
	return 0;
}

/* Has the node the shape that the type needs? */
static int check_shape(const struct crcore_option *o, const struct node *n,
                       struct crcore_error *err)
{
	enum node_type want = o->type == CRCORE_LIST ? NODE_LIST :
	                      o->type == CRCORE_MAP ? NODE_MAP : NODE_SCALAR;

	if (n->type == want || (want != NODE_SCALAR && n->type == NODE_SCALAR && node_is_empty(n)))
		return 0;
	if (want == NODE_LIST)
		crcore_advise(err, "write '%s: [ one, two ]'", o->name);
	else if (want == NODE_MAP)
		crcore_advise(err, "write '%s: { key: value }'", o->name);
	return node_fail(n, err, -EINVAL, "'%s' must be %s", o->name,
	                 want == NODE_LIST ? "a list" : want == NODE_MAP ? "a map" :
	                 "one value, not a list or a map");
}

int policy_parse_value(const struct crcore_option *o, const struct node *n,
                       struct crcore_value *ret, struct crcore_error *err)
{
	struct crcore_value v = { 0 };
	int r = check_shape(o, n, err);

	if (r < 0)
		return r;
	switch (o->type) {
	case CRCORE_BOOL:
		r = parse_bool(o, n, &v.b, err);
		break;
	case CRCORE_INT:
		r = parse_ranged(o, n, no_units, "a whole number", &v.i, err);
		break;
	case CRCORE_SIZE:
		r = parse_ranged(o, n, size_units, "64MiB, 4096, 1GiB", &v.i, err);
		break;
	case CRCORE_SECONDS:
		r = parse_ranged(o, n, time_units, "10s, 250ms, 2m", &v.i, err);
		break;
	case CRCORE_STRING:
		v.s = n->text;
		break;
	case CRCORE_CHOICE:
		r = parse_choice(o, n, &v, err);
		break;
	case CRCORE_LIST:
	case CRCORE_MAP:
		r = parse_strings(o, n, &v, err);
		break;
	default:
		r = node_fail(n, err, -EINVAL, "option '%s' is of an unknown type %u", o->name, o->type);
	}
	if (r >= 0)
		*ret = v;
	return r;
}

int default_node(const struct crcore_option *o, struct node **ret, struct crcore_error *err)
{
	const char *text = o->default_value;

	if (o->type == CRCORE_LIST || o->type == CRCORE_MAP) {
		if (text)
			return load_nodes(origin_builtin, text, strlen(text), ret, err);
		*ret = node_new(o->type == CRCORE_MAP ? NODE_MAP : NODE_LIST, origin_builtin, 0, 0);
		return *ret ? 0 : crcore_no_memory(err);
	}
	if (!text)
		text = o->type == CRCORE_BOOL ? "no" : o->type == CRCORE_STRING ? "" :
		       o->type == CRCORE_CHOICE && o->choices ? o->choices[0] : "0";
	*ret = node_scalar(text, origin_builtin);
	return *ret ? 0 : crcore_no_memory(err);
}
