/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See births.h. The plan is made in steps, each over all tasks:
 *  need     which session a task must be born into; for a leader: any, unless
 *           a child of it is in another session (then it was born in that one)
 *  orphans  tasks that their parent cannot give birth to
 *  share    CLONE_VM and the like
 *  groups   process groups, with helpers for dead leaders
 *  order    creators first
 */
#include <sched.h>
#include "core/restore/births_priv.h"

/* ---- lookup --------------------------------------------------------------------- */

static int by_pid(const void *a, const void *b)
{
	const struct pid_index *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int plan_find(const struct plan *p, pid_t pid)
{
	struct pid_index key = { pid, 0 };
	struct pid_index *e = bsearch(&key, p->by_pid, p->n, sizeof(key), by_pid);

	return e ? e->task : -1;
}

bool plan_is_leader(const struct plan *p, int t)
{
	return p->tasks[t]->sid == p->tasks[t]->pid;
}

/* True if a is b or above it in the tree; -1 is main, above all. */
bool plan_is_above(const struct plan *p, int a, int b)
{
	while (b >= 0 && b != a)
		b = p->parent[b];
	return b == a;
}

static void name_task(const Crcore__Task *rec, struct crcore_error *err)
{
	crcore_fail_at(err, (pid_t)rec->pid, -1, "task %u (parent %u, session %u, group %u)", rec->pid,
	               rec->ppid, rec->sid, rec->pgid);
}

int plan_refuse(const struct plan *p, int t, struct crcore_error *err, const char *why)
{
	name_task(p->tasks[t], err);
	return crcore_fail(err, -ENOTSUP, "%s", why);
}

int plan_helper(struct plan *p, struct birth b, struct crcore_error *err)
{
	struct births *o = p->births;

	if (!GROW(o->v, o->n))
		return crcore_no_memory(err);
	b.task = -1;
	o->v[o->n] = b;
	return (int)o->n++;
}

/* ---- need ----------------------------------------------------------------------- */

/* Could task t (a session leader) have been born into session sid? Follows
 * its ancestors as long as they may themselves have been in it. */
static bool may_be_born_in(const struct plan *p, int t, pid_t sid)
{
	for (t = p->parent[t]; t >= 0; t = p->parent[t]) {
		if ((pid_t)p->tasks[t]->sid == sid)
			return true;
		if (!plan_is_leader(p, t) || (p->need[t] && p->need[t] != sid))
			return false;
	}
	return sid == p->outer_sid;
}

static void find_need(struct plan *p, int t)
{
	struct birth *b = &p->births->v[t];
	int parent = p->parent[t];
	pid_t need = p->need[t];

	b->creator = parent;
	if (parent < 0) {
		b->creator = need && need != p->outer_sid ? ORPHAN : -1;
	} else if (need && need != (pid_t)p->tasks[parent]->sid) {
		if (plan_is_leader(p, parent) &&
		    (p->need[parent] == need ||
		     (!p->need[parent] && may_be_born_in(p, parent, need)))) {
			p->need[parent] = need;
			b->early = true;
		} else {
			b->creator = ORPHAN;
		}
	}
}

/* ---- share ---------------------------------------------------------------------- */

static const struct {
	size_t offset;
	uint64_t flag;
	const char *what;
} shared[] = {
	{ offsetof(Crcore__Task, mm), CLONE_VM, "memory" },
	{ offsetof(Crcore__Task, files), CLONE_FILES, "descriptor table" },
	{ offsetof(Crcore__Task, fs), CLONE_FS, "current directory" },
	{ offsetof(Crcore__Task, sighand), CLONE_SIGHAND, "signal actions" },
};

static uint32_t shared_id(const struct plan *p, int t, unsigned i)
{
	return *(const uint32_t *)(const void *)((const char *)p->tasks[t] + shared[i].offset);
}

/* What t shares with creator c; *missing gets what it shares with others only. */
static uint64_t share_with(const struct plan *p, int t, int c, const char **missing)
{
	uint64_t flags = 0;

	*missing = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(shared); i++) {
		uint32_t id = shared_id(p, t, i);
		if (!id)
			continue;
		if (c >= 0 && shared_id(p, c, i) == id)
			flags |= shared[i].flag;
		else if (p->first[i][t])
			*missing = shared[i].what;
	}
	if ((flags & CLONE_SIGHAND) && !(flags & CLONE_VM))
		*missing = "signal actions, but not memory,";
	return flags;
}

/* A brother that has all that t shares can clone it in the parent's stead. */
static int find_brother(const struct plan *p, int t)
{
	const char *missing;

	for (int s = t - 1; s > 0 && p->births->v[t].creator != ORPHAN; s--) {
		if (p->parent[s] != p->parent[t] || p->births->v[s].zombie ||
		    p->tasks[s]->exit_signal != p->tasks[t]->exit_signal ||
		    (p->need[t] && p->need[t] != (pid_t)p->tasks[s]->sid))
			continue;
		share_with(p, t, s, &missing);
		if (!missing)
			return s;
	}
	return -1;
}

static int find_share(struct plan *p, int t, struct crcore_error *err)
{
	struct birth *b = &p->births->v[t];
	int c = b->creator >= 0 && p->births->v[b->creator].task >= 0 ? b->creator : -1;
	const char *missing;

	b->share = share_with(p, t, c, &missing);
	if (!missing)
		return 0;
	c = b->sibling ? -1 : find_brother(p, t);
	if (c >= 0) {
		b->creator = c;
		b->sibling = true;
		b->early = false;
		b->share = share_with(p, t, c, &missing);
		return 0;
	}
	crcore_advise(err, "a task can be born only with what its parent has");
	name_task(p->tasks[t], err);
	return crcore_fail(err, -ENOTSUP, "shares its %s with a task that did not clone it", missing);
}

/* Per sort of thing: is a task not the first that has its id? Ids are few and
 * dense in practice, but come from outside: sort, don't index by them. */
struct id_task { uint32_t id; int task; };

static int by_id(const void *a, const void *b)
{
	const struct id_task *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->task - y->task;
}

static int find_first(struct plan *p, struct crcore_error *err)
{
	cleanup_free struct id_task *v = calloc(p->n, sizeof(*v));

	for (unsigned i = 0; i < ARRAY_SIZE(shared); i++) {
		p->first[i] = calloc(p->n, sizeof(bool));
		if (!v || !p->first[i])
			return crcore_no_memory(err);
		for (unsigned t = 0; t < p->n; t++)
			v[t] = (struct id_task){ shared_id(p, (int)t, i), (int)t };
		qsort(v, p->n, sizeof(*v), by_id);
		for (unsigned t = 1; t < p->n; t++)
			p->first[i][v[t].task] = v[t].id && v[t].id == v[t - 1].id;
	}
	return 0;
}

/* Helpers and zombies that give birth to nobody need no memory of their own. */
static void share_passers_by(struct plan *p)
{
	struct births *o = p->births;

	for (unsigned i = 0; i < o->n; i++)
		if (o->v[i].creator >= 0 && (o->v[i].task < 0 || o->v[i].zombie))
			o->v[i].share = CLONE_VM;
	for (unsigned i = 0; i < o->n; i++) {
		struct birth *c = o->v[i].creator >= 0 ? &o->v[o->v[i].creator] : NULL;
		if (c && (c->task < 0 || c->zombie))
			c->share = 0;
	}
}

/* ---- the whole ------------------------------------------------------------------ */

static int start(struct plan *p, struct crcore_error *err)
{
	struct births *o = p->births;

	p->by_pid = calloc(p->n, sizeof(*p->by_pid));
	p->parent = calloc(p->n, sizeof(*p->parent));
	p->need = calloc(p->n, sizeof(*p->need));
	o->of_task = calloc(p->n, sizeof(*o->of_task));
	if (!p->by_pid || !p->parent || !p->need || !o->of_task)
		return crcore_no_memory(err);
	for (unsigned t = 0; t < p->n; t++)
		p->by_pid[t] = (struct pid_index){ (pid_t)p->tasks[t]->pid, (int)t };
	qsort(p->by_pid, p->n, sizeof(*p->by_pid), by_pid);
	for (unsigned t = 0; t < p->n; t++) {
		const Crcore__Task *rec = p->tasks[t];
		p->parent[t] = t ? plan_find(p, (pid_t)rec->ppid) : -1;
		if ((t && p->parent[t] < 0) || p->parent[t] >= (int)t)
			return plan_refuse(p, (int)t, err, "its parent is not before it in the image");
		if (t && p->by_pid[t].pid == p->by_pid[t - 1].pid)
			return plan_refuse(p, p->by_pid[t].task, err, "two tasks have this pid");
		if (!plan_is_leader(p, (int)t))
			p->need[t] = (pid_t)rec->sid;
		if (!GROW(o->v, o->n))
			return crcore_no_memory(err);
		o->v[o->n++] = (struct birth){
			.pid = (pid_t)rec->pid, .task = (int)t, .round = -1,
			.leads_session = plan_is_leader(p, (int)t),
			.zombie = rec->state == CRCORE__TASK_STATE__ZOMBIE,
			.exit_signal = (int)rec->exit_signal,
		};
	}
	o->ntasks = p->n;
	return 0;
}

static void plan_end(struct plan *p)
{
	free(p->by_pid);
	free(p->parent);
	free(p->need);
	for (unsigned i = 0; i < ARRAY_SIZE(p->first); i++)
		free(p->first[i]);
}

int births_plan(Crcore__Task *const *tasks, unsigned ntasks, pid_t outer_sid, pid_t outer_pgid,
                struct births *ret, struct crcore_error *err)
{
	struct births out = { 0 };
	struct plan p = { .tasks = tasks, .n = ntasks, .outer_sid = outer_sid,
	                  .outer_pgid = outer_pgid, .births = &out };
	int r = ntasks ? start(&p, err) : crcore_fail(err, -EBADMSG, "the image has no task");

	for (int t = (int)ntasks - 1; r == 0 && t >= 0; t--)
		find_need(&p, t);
	if (r == 0)
		r = births_orphans(&p, err);
	if (r == 0)
		r = find_first(&p, err);
	for (int t = 0; r == 0 && t < (int)ntasks; t++)
		r = find_share(&p, t, err);
	if (r == 0)
		r = births_groups(&p, err);
	if (r == 0)
		share_passers_by(&p);
	if (r == 0)
		r = births_order(&p, err);
	plan_end(&p);
	if (r < 0)
		births_free(&out);
	else
		*ret = out;
	return r;
}

void births_free(struct births *b)
{
	free(b->v);
	free(b->of_task);
	free(b->rounds);
	*b = (struct births){ 0 };
}

int births_moment(const struct births *b, unsigned task)
{
	int i = b->of_task[task], c;

	while ((c = b->v[i].creator) >= 0 && (b->v[c].task < 0 || b->v[c].zombie))
		i = c;
	return i;
}
