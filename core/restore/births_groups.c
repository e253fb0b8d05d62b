/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process groups: leaders make them, members join, and a group whose leader is
 * dead is made by a helper with the leader's number, a child of its first member.
 */
#include "core/restore/births_priv.h"

/* The stand-in for the dead leader of a group: made by task t, its first member. */
static int stand_in(struct plan *p, int t, pid_t pgid, struct crcore_error *err)
{
	for (unsigned i = p->n; i < p->births->n; i++)
		if (p->births->v[i].pid == pgid)
			return (int)i;
	return plan_helper(p, (struct birth){ .pid = pgid, .creator = t, .round = -1,
	                   .leads_group = true }, err);
}

static int join(struct plan *p, int t, struct crcore_error *err)
{
	const Crcore__Task *rec = p->tasks[t];
	pid_t pgid = (pid_t)rec->pgid;
	int leader = plan_find(p, pgid);

	if (leader >= 0) {
		if (p->tasks[leader]->sid != rec->sid)
			return plan_refuse(p, t, err, "its group is in another session");
		if (!p->births->v[leader].leads_session)
			p->births->v[leader].leads_group = true;
	} else {
		leader = stand_in(p, t, pgid, err);
		if (leader < 0)
			return leader;
		const struct birth *h = &p->births->v[leader];
		uint32_t sid = h->leads_session ? (uint32_t)h->pid : p->tasks[h->creator]->sid;
		if (sid != rec->sid)
			return plan_refuse(p, t, err, "its group is in another session");
	}
	p->births->v[t].joins = pgid;
	return 0;
}

static bool in_outer_group(const struct plan *p, int t)
{
	return p->outer_pgid && (pid_t)p->tasks[t]->pgid == p->outer_pgid &&
	       (pid_t)p->tasks[t]->sid == p->outer_sid;
}

int births_groups(struct plan *p, struct crcore_error *err)
{
	for (int t = 0; t < (int)p->n; t++) {
		const Crcore__Task *rec = p->tasks[t];
		int r = 0;
		if (plan_is_leader(p, t)) {
			if (rec->pgid != rec->pid)
				return plan_refuse(p, t, err, "leads its session from another group");
		} else if (rec->pgid == rec->pid) {
			p->births->v[t].leads_group = true;
		} else if (!in_outer_group(p, t)) {
			r = join(p, t, err);
		}
		if (r < 0)
			return r;
	}
	for (int t = 0; t < (int)p->n; t++) {
		struct birth *b = &p->births->v[t];
		if (b->leads_group && in_outer_group(p, t)) /* it made a group, and went back */
			b->joins = -1;
		b->joins_late = b->leads_group && b->joins;
	}
	return 0;
}
