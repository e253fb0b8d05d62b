/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the plugins in each stage: as the policy names them, changed as
 * little as possible so that every "before" and "after", of plugins and
 * policy, holds. Computed for all stages at load, so that a cycle is found
 * before anything happens.
 */
#include "core/host/internal.h"
#include "core/util/nearest.h"
#include "core/util/util.h"

struct edge { /* plugin a runs before plugin b */
	unsigned a, b;
	uint32_t stages; /* bit mask */
	char why[96];    /* who wants it so */
};

struct sorter {
	struct host *host;
	struct edge *edges;
	unsigned nedges;
	struct crcore_error *err;
};

static const char *const names[NSTAGES] = {
	"open", "observe", "claim", "pause", "wake", "rest", "ask", "hold", "save", "load",
	"check", "prepare", "plan", "create", "emit", "settle", "release", "done",
	"close",
};

const char *stage_name(enum stage s)
{
	return (unsigned)s < NSTAGES ? names[s] : "undo";
}

/* The stages that a name in "order" means, 0: unknown. */
static uint32_t stage_mask(const char *name)
{
	uint32_t mask = 0;

	if (!name)
		return (1u << NSTAGES) - 1;
	for (unsigned s = 0; s < NSTAGES; s++) {
		bool dump = s >= STAGE_OBSERVE && s <= STAGE_SAVE;
		bool restore = s >= STAGE_LOAD && s <= STAGE_SETTLE;

		if (!strcmp(name, names[s]) || (dump && !strcmp(name, "dump")) ||
		    (restore && !strcmp(name, "restore")))
			mask |= 1u << s;
	}
	return mask;
}

static int unknown_stage(struct sorter *s, const char *why, const char *name)
{
	struct nearest near = NEAREST_INIT(name);
	char list[200] = "dump, restore";
	size_t len = strlen(list);

	nearest_try(&near, "dump");
	nearest_try(&near, "restore");
	for (unsigned i = 0; i < NSTAGES; i++) {
		nearest_try(&near, names[i]);
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, ", %s", names[i]);
	}
	if (near.best)
		crcore_advise(s->err, "did you mean \"%s\"?", near.best);
	crcore_advise(s->err, "there are: %s", list);
	return crcore_fail(s->err, -EINVAL, "order: %s names the stage \"%s\", which there is not", why,
	                   name);
}

static int unknown_plugin(struct sorter *s, const char *why, const char *name)
{
	crcore_advise(s->err, "add it to the policy, or write \"?name\" for one that need not be "
	              "there");
	return crcore_fail(s->err, -EINVAL, "order: %s names the plugin \"%s\", which is not loaded",
	                   why, name);
}

/* 1: found; 0: not there, and need not be. */
static int find(struct sorter *s, const char *why, const char *name, unsigned *ret)
{
	bool optional = *name == '?';
	const struct crcore_ctx *ctx = host_find(s->host, name + optional);

	if (!ctx)
		return optional || host_is_spare(s->host, name) ? 0 : unknown_plugin(s, why, name);
	*ret = ctx->index;
	return 1;
}

static int add_edge(struct sorter *s, const char *why, const char *stage, const char *plugin,
                    bool before, const char *other)
{
	uint32_t mask = stage_mask(stage);
	unsigned a = 0, b = 0;
	int rc = mask ? find(s, why, plugin, &a) : unknown_stage(s, why, stage);

	if (rc > 0)
		rc = find(s, why, other, &b);
	if (rc <= 0)
		return rc;
	if (!GROW(s->edges, s->nedges))
		return crcore_no_memory(s->err);
	struct edge *e = &s->edges[s->nedges++];
	e->a = before ? a : b;
	e->b = before ? b : a;
	e->stages = mask;
	snprintf(e->why, sizeof(e->why), "%s", why);
	return 0;
}

static int policy_edge(void *arg, const char *stage, const char *plugin, bool before,
                       const char *other, const struct node *where)
{
	char why[96] = "the policy";

	if (where && where->origin)
		snprintf(why, sizeof(why), "%s:%d:%d", where->origin, where->line, where->column);
	return add_edge(arg, why, stage, plugin, before, other);
}

static int plugin_edges(struct sorter *s, const struct crcore_plugin *p)
{
	for (const struct crcore_order *o = p->order; o && (o->before || o->after); o++)
		for (int before = 0; before < 2; before++) {
			const char *const *list = before ? o->before : o->after;

			for (; list && *list; list++) {
				int rc = add_edge(s, p->name, o->stage, p->name, before, *list);
				if (rc < 0)
					return rc;
			}
		}
	return 0;
}

/* An edge of the stage into b from one that is not placed yet, NULL: none. */
static const struct edge *blocker(const struct sorter *s, unsigned stage, unsigned b,
                                  const bool *placed)
{
	for (unsigned i = 0; i < s->nedges; i++) {
		const struct edge *e = &s->edges[i];

		if (e->b == b && (e->stages & 1u << stage) && !placed[e->a])
			return e;
	}
	return NULL;
}

/* at is blocked, and so is all that blocks it: walk back until a plugin comes again. */
static int report_cycle(struct sorter *s, unsigned stage, unsigned at, const bool *placed)
{
	struct crcore_ctx **v = s->host->plugins;
	char text[320] = "";
	size_t len = 0;

	for (unsigned i = 0; i < s->host->nplugins; i++) /* now surely on the cycle */
		at = blocker(s, stage, at, placed)->a;
	unsigned first = at;

	do {
		const struct edge *e = blocker(s, stage, at, placed);
		if (len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s after %s (%s)",
			                        len ? ", " : "", v[e->b]->p.name, v[e->a]->p.name, e->why);
		at = e->a;
	} while (at != first);
	crcore_advise(s->err, "take one of these out of the policy's order, or one of the plugins");
	return crcore_fail(s->err, -ELOOP, "order of stage \"%s\" goes round in a circle: %s",
	                   stage_name(stage), text);
}

static int sort_stage(struct sorter *s, unsigned stage, struct crcore_ctx **out, bool *placed)
{
	unsigned n = s->host->nplugins;

	memset(placed, 0, n);
	for (unsigned done = 0; done < n; done++) {
		unsigned i = 0, waits = n;

		for (; i < n; i++) {
			if (placed[i])
				continue;
			if (!blocker(s, stage, i, placed))
				break;
			waits = i;
		}
		if (i == n)
			return report_cycle(s, stage, waits, placed);
		placed[i] = true;
		out[done] = s->host->plugins[i];
	}
	return 0;
}

int host_sort(struct host *h, struct crcore_error *err)
{
	struct sorter s = { .host = h, .err = err };
	struct crcore_ctx **order[NSTAGES] = { 0 };
	cleanup_free bool *placed = calloc(h->nplugins + 1, sizeof(*placed));
	int rc = placed ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; rc == 0 && i < h->nplugins; i++)
		rc = plugin_edges(&s, &h->plugins[i]->p);
	if (rc == 0)
		rc = policy_order(h->policy, policy_edge, &s);
	for (unsigned stage = 0; rc == 0 && stage < NSTAGES; stage++) {
		order[stage] = calloc(h->nplugins + 1, sizeof(*order[stage]));
		rc = order[stage] ? sort_stage(&s, stage, order[stage], placed) :
		                    crcore_no_memory(err);
	}
	for (unsigned stage = 0; stage < NSTAGES; stage++) { /* all of it or nothing */
		free(rc == 0 ? h->order[stage] : order[stage]);
		if (rc == 0)
			h->order[stage] = order[stage];
	}
	free(s.edges);
	return rc;
}

struct crcore_ctx *const *host_order(struct host *h, enum stage stage, unsigned *ret_n)
{
	*ret_n = h->nplugins;
	return h->order[stage];
}
