/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks in a session that their parent cannot give them: they were reparented
 * when whoever cloned them died. Each is cloned from inside its session:
 *
 *   leader is a brother    the leader clones it with CLONE_PARENT
 *   leader is dead         a helper with the leader's number stands in for it, as
 *                          a child of the (lowest) parent of such tasks
 *   leader is further down a helper below the leader clones it and exits while the
 *                          parent is the only subreaper above: a round of its own
 */
#include <signal.h>
#include "core/restore/births_priv.h"

/* The helper below birth `leader` that hands its children to task `parent`. */
static int handover(struct plan *p, int leader, int parent, struct crcore_error *err)
{
	struct births *o = p->births;
	unsigned round;

	for (round = 0; round < o->nrounds && o->rounds[round] != parent; round++)
		;
	if (round == o->nrounds) {
		if (!GROW(o->rounds, o->nrounds))
			return crcore_no_memory(err);
		o->rounds[o->nrounds++] = parent;
	}
	for (unsigned i = p->n; i < o->n; i++)
		if (o->v[i].creator == leader && o->v[i].round == (int)round)
			return (int)i;
	return plan_helper(p, (struct birth){ .creator = leader, .round = (int)round }, err);
}

/* The lowest parent of all orphans of a session; they must be one above the other. */
static int lowest_parent(const struct plan *p, pid_t sid, int *ret_bad)
{
	int lowest = -1;
	bool any = false;

	*ret_bad = -1;
	for (unsigned t = 0; t < p->n; t++) {
		if (p->births->v[t].creator != ORPHAN || p->need[t] != sid)
			continue;
		int parent = p->parent[t];
		if (!any || plan_is_above(p, lowest, parent))
			lowest = parent;
		else if (!plan_is_above(p, parent, lowest))
			*ret_bad = (int)t;
		any = true;
	}
	return lowest;
}

/* The birth that leads a session whose leader is no task of the tree. */
static int dead_leader(struct plan *p, int t, struct crcore_error *err)
{
	pid_t sid = p->need[t];
	int bad;

	for (unsigned i = p->n; i < p->births->n; i++)
		if (p->births->v[i].leads_session && p->births->v[i].pid == sid)
			return (int)i;
	int parent = lowest_parent(p, sid, &bad);
	if (bad >= 0)
		return plan_refuse(p, bad, err, "its session has tasks in another branch of the tree, "
		                   "and no leader that they could come from");
	return plan_helper(p, (struct birth){ .pid = sid, .creator = parent, .round = -1,
	                   .leads_session = true, .exit_signal = SIGCHLD }, err);
}

/* Parent (task) of a birth that may be a helper standing in for a leader. */
static int parent_of(const struct plan *p, int birth)
{
	return birth < (int)p->n ? p->parent[birth] : p->births->v[birth].creator;
}

static int adopt(struct plan *p, int t, struct crcore_error *err)
{
	int leader = plan_find(p, p->need[t]);
	int parent = p->parent[t];

	if (leader < 0)
		leader = dead_leader(p, t, err);
	if (leader < 0)
		return leader;
	struct birth *b = &p->births->v[t];
	if (parent_of(p, leader) == parent) {
		b->creator = leader;
		b->sibling = true;
		if (p->births->v[leader].exit_signal == b->exit_signal)
			return 0;
		return plan_refuse(p, t, err, "tells its end by another signal than the leader of its "
		                   "session, who would have to clone it");
	}
	if (parent < 0 || !plan_is_above(p, parent, leader < (int)p->n ? leader
	                                                                : parent_of(p, leader)))
		return plan_refuse(p, t, err, "the leader of its session is in another branch of the tree");
	int helper = handover(p, leader, parent, err);
	if (helper < 0)
		return helper;
	b = &p->births->v[t];
	b->creator = helper;
	if (b->exit_signal != SIGCHLD) /* what a task gets when it changes parents */
		return plan_refuse(p, t, err, "changed parents, but tells its end by no SIGCHLD");
	return 0;
}

int births_orphans(struct plan *p, struct crcore_error *err)
{
	cleanup_free bool *orphan = calloc(p->n, sizeof(bool));

	if (!orphan)
		return crcore_no_memory(err);
	for (unsigned t = 0; t < p->n; t++)
		orphan[t] = p->births->v[t].creator == ORPHAN;
	/* helpers for all sessions before any creator is set: lowest_parent() looks at all */
	for (unsigned t = 0; t < p->n; t++) {
		int r = orphan[t] && plan_find(p, p->need[t]) < 0 ? dead_leader(p, (int)t, err) : 0;
		if (r < 0)
			return r;
	}
	for (unsigned t = 0; t < p->n; t++) {
		int r = orphan[t] ? adopt(p, (int)t, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}
