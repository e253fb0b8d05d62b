/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the policy tree: making, finding, replacing, merging. */
#include "core/policy/internal.h"
#include "core/util/util.h"

const char origin_builtin[] = "built in";

struct node *node_new(enum node_type type, const char *origin, int line, int column)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->type = type;
	n->origin = origin;
	n->line = line;
	n->column = column;
	return n;
}

struct node *node_scalar(const char *text, const char *origin)
{
	struct node *n = node_new(NODE_SCALAR, origin, 0, 0);

	if (n && !(n->text = strdup(text))) {
		free(n);
		return NULL;
	}
	return n;
}

/* Depth is bounded by POLICY_DEPTH_MAX. */
void node_free(struct node *n)
{
	if (!n)
		return;
	for (struct node *c = n->child, *next; c; c = next) {
		next = c->next;
		node_free(c);
	}
	free(n->key);
	free(n->text);
	free(n->list);
	free(n);
}

struct node *node_find(const struct node *map, const char *key)
{
	if (!map || map->type != NODE_MAP)
		return NULL;
	for (struct node *c = map->child; c; c = c->next)
		if (!strcmp(c->key, key))
			return c;
	return NULL;
}

void node_append(struct node *parent, struct node *child)
{
	struct node **p = &parent->child;

	while (*p)
		p = &(*p)->next;
	*p = child;
}

unsigned node_count(const struct node *parent)
{
	unsigned n = 0;

	for (const struct node *c = parent->child; c; c = c->next)
		n++;
	return n;
}

void node_retire(struct policy *p, struct node *parent, struct node *child)
{
	struct node **link = &parent->child;

	while (*link && *link != child)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = child->next;
	child->next = p->retired;
	p->retired = child;
}

/* Puts new where old is. */
static void replace(struct policy *p, struct node *parent, struct node *old, struct node *new)
{
	for (struct node **link = &parent->child; *link; link = &(*link)->next) {
		if (*link != old)
			continue;
		new->next = old->next;
		*link = new;
		old->next = p->retired;
		p->retired = old;
		return;
	}
}

int node_put(struct policy *p, struct node *map, const char *key, struct node *child,
             struct crcore_error *err)
{
	struct node *old = node_find(map, key);
	char *k = strdup(key);

	if (!k || !child) {
		free(k);
		node_free(child);
		return crcore_no_memory(err);
	}
	free(child->key);
	child->key = k;
	if (old)
		replace(p, map, old, child);
	else
		node_append(map, child);
	return 0;
}

bool node_is_empty(const struct node *n)
{
	return n->type == NODE_SCALAR ? !n->text[0] : !n->child;
}

void node_merge(struct policy *p, struct node *dst, struct node *src)
{
	struct node *next;

	for (struct node *c = src->child; c; c = next) {
		next = c->next;
		c->next = NULL;
		struct node *old = node_find(dst, c->key);
		if (old && old->type == NODE_MAP && c->type == NODE_MAP)
			node_merge(p, old, c);
		else if (old)
			replace(p, dst, old, c);
		else
			node_append(dst, c);
	}
	dst->origin = src->origin;
	dst->line = src->line;
	dst->column = src->column;
	src->child = NULL;
	node_free(src);
}

int node_fail(const struct node *n, struct crcore_error *err, int code, const char *fmt, ...)
{
	char message[sizeof(err->message)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (err && !err->code) {
		if (n && n->line)
			crcore_fail_at(err, -1, -1, "%s:%d:%d", n->origin, n->line, n->column);
		else if (n)
			crcore_fail_at(err, -1, -1, "%s", n->origin);
	}
	return crcore_fail(err, code, "%s", message);
}
