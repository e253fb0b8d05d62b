/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of births, tried on trees as they come about: a small model of the
 * kernel lets tasks fork, lead sessions and groups, exit and be reparented at
 * random; what is alive in the end is planned, and the plan is carried out on
 * the same model. It must lead to the same tree. Then: what is to be refused.
 */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/restore/births.h"
#include "core/util/util.h"

#define MAX 400
#define MAIN 0 /* index in the model: what is outside the tree */

/* ---- the model -------------------------------------------------------------------- */

struct model_task {
	int pid, parent, sid, pgid;
	bool alive, zombie, subreaper;
};

struct model {
	struct model_task v[MAX];
	int n, last_pid;
};

static void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->v[0] = (struct model_task){ .pid = 1, .parent = -1, .sid = 1, .pgid = 1, .alive = true };
	m->n = 1;
	m->last_pid = 100;
}

static int model_clone(struct model *m, int by, bool sibling, int pid)
{
	assert_true(m->v[by].alive && m->n < MAX);
	for (int i = 0; i < m->n; i++) /* the number must be free */
		assert_false((m->v[i].alive || m->v[i].zombie) && m->v[i].pid == pid);
	m->v[m->n] = (struct model_task){ .pid = pid, .sid = m->v[by].sid, .pgid = m->v[by].pgid,
	                                  .parent = sibling ? m->v[by].parent : by, .alive = true };
	return m->n++;
}

static bool model_group_exists(const struct model *m, int sid, int pgid)
{
	for (int i = 0; i < m->n; i++)
		if ((m->v[i].alive || m->v[i].zombie) && m->v[i].pgid == pgid && m->v[i].sid == sid)
			return true;
	return false;
}

static bool model_setsid(struct model *m, int t)
{
	for (int i = 0; i < m->n; i++)
		if ((m->v[i].alive || m->v[i].zombie) && m->v[i].pgid == m->v[t].pid)
			return false;
	m->v[t].sid = m->v[t].pgid = m->v[t].pid;
	return true;
}

static bool model_setpgid(struct model *m, int t, int pgid)
{
	if (m->v[t].sid == m->v[t].pid ||
	    (pgid != m->v[t].pid && !model_group_exists(m, m->v[t].sid, pgid)))
		return false;
	m->v[t].pgid = pgid;
	return true;
}

static void model_exit(struct model *m, int t)
{
	int heir = m->v[t].parent;

	while (heir != MAIN && !m->v[heir].subreaper)
		heir = m->v[heir].parent;
	m->v[t].alive = false;
	m->v[t].zombie = true;
	for (int i = 0; i < m->n; i++)
		if (m->v[i].parent == t)
			m->v[i].parent = heir;
}

static void model_reap(struct model *m, int t)
{
	m->v[t].zombie = false;
}

/* ---- random histories -------------------------------------------------------------- */

static bool in_tree(const struct model *m, int t)
{
	while (t > 1)
		t = m->v[t].parent;
	return t == 1;
}

static int pick(const struct model *m)
{
	int t;

	do
		t = 1 + rand() % (m->n - 1);
	while (!m->v[t].alive || !in_tree(m, t));
	return t;
}

static void live(struct model *m, int steps, bool root_leads)
{
	int root = model_clone(m, MAIN, false, ++m->last_pid);

	if (root_leads)
		model_setsid(m, root);
	m->v[root].subreaper = rand() % 2;
	while (steps--) {
		int t = pick(m);
		int what = rand() % 100;
		if (what < 50)
			model_clone(m, t, rand() % 16 == 0 && t != root, ++m->last_pid);
		else if (what < 62)
			model_setsid(m, t);
		else if (what < 72)
			model_setpgid(m, t, m->v[t].pid);
		else if (what < 80)
			model_setpgid(m, t, m->v[pick(m)].pgid);
		else if (what < 84)
			m->v[t].subreaper = true;
		else if (t != root) {
			model_exit(m, t);
			if (rand() % 2)
				model_reap(m, t);
		}
	}
}

/* Records of what is in the tree below the root, parents first. */
static unsigned records(const struct model *m, Crcore__Task *store, Crcore__Task **ret)
{
	unsigned n = 0;
	int index[MAX];

	index[n++] = 1;
	for (unsigned at = 0; at < n; at++)
		for (int i = 2; i < m->n; i++)
			if (m->v[i].parent == index[at] && (m->v[i].alive || m->v[i].zombie))
				index[n++] = i;
	for (unsigned i = 0; i < n; i++) {
		const struct model_task *t = &m->v[index[i]];
		crcore__task__init(&store[i]);
		store[i].pid = (uint32_t)t->pid;
		store[i].ppid = (uint32_t)m->v[t->parent].pid;
		store[i].sid = (uint32_t)t->sid;
		store[i].pgid = (uint32_t)t->pgid;
		store[i].exit_signal = SIGCHLD;
		store[i].state = t->alive ? CRCORE__TASK_STATE__RUNNING : CRCORE__TASK_STATE__ZOMBIE;
		if (t->alive)
			store[i].mm = store[i].files = store[i].fs = store[i].sighand = 1000 + i;
		ret[i] = &store[i];
	}
	return n;
}

/* ---- carrying a plan out ------------------------------------------------------------- */

static void bear(struct model *m, const struct births *b, int *at, int i, bool early)
{
	for (unsigned c = 0; c < b->n; c++)
		if (b->v[c].creator == i && b->v[c].early == early)
			at[c] = model_clone(m, at[i], b->v[c].sibling,
			                    b->v[c].pid ? b->v[c].pid : ++m->last_pid);
}

static void carry_out(struct model *m, const struct births *b)
{
	int at[MAX];

	m->last_pid = 100000;
	at[0] = model_clone(m, MAIN, false, b->v[0].pid);
	for (int i = 0; i < (int)b->n; i++) { /* creators come first, so each exists by now */
		bear(m, b, at, i, true);
		if (b->v[i].leads_session)
			assert_true(model_setsid(m, at[i]));
		bear(m, b, at, i, false);
	}
	for (unsigned i = 0; i < b->n; i++)
		if (b->v[i].leads_group)
			assert_true(model_setpgid(m, at[i], b->v[i].pid));
	for (int late = 0; late < 2; late++)
		for (unsigned i = 0; i < b->n; i++)
			if (b->v[i].joins && b->v[i].joins_late == late)
				assert_true(model_setpgid(m, at[i], b->v[i].joins > 0 ? b->v[i].joins
				                                                      : m->v[0].pgid));
	for (unsigned k = 0; k < b->nrounds; k++) {
		m->v[at[b->rounds[k]]].subreaper = true;
		for (unsigned i = 0; i < b->n; i++)
			if (b->v[i].round == (int)k) {
				model_exit(m, at[i]);
				model_reap(m, at[i]);
			}
		m->v[at[b->rounds[k]]].subreaper = false;
	}
	for (unsigned i = 0; i < b->n; i++) {
		if (b->v[i].task < 0 && b->v[i].round < 0) {
			for (int c = 0; c < m->n; c++) /* nothing may depend on a stand-in */
				assert_false((m->v[c].alive || m->v[c].zombie) && m->v[c].parent == at[i]);
			model_exit(m, at[i]);
			model_reap(m, at[i]);
		}
		if (b->v[i].zombie)
			model_exit(m, at[i]);
	}
}

static void compare(const struct model *m, Crcore__Task *const *tasks, unsigned n, int outer)
{
	unsigned there = 0;

	for (int i = 1; i < m->n; i++)
		there += m->v[i].alive || m->v[i].zombie;
	assert_int_equal(there, n);
	for (unsigned t = 0; t < n; t++) {
		int i;
		for (i = 1; i < m->n; i++)
			if (m->v[i].pid == (int)tasks[t]->pid && (m->v[i].alive || m->v[i].zombie))
				break;
		assert_true(i < m->n);
		assert_int_equal(m->v[i].zombie, tasks[t]->state == CRCORE__TASK_STATE__ZOMBIE);
		if (t)
			assert_int_equal(m->v[m->v[i].parent].pid, tasks[t]->ppid);
		if ((int)tasks[t]->sid != outer)
			assert_int_equal(m->v[i].sid, tasks[t]->sid);
		else
			assert_int_equal(m->v[i].sid, m->v[0].sid);
		if ((int)tasks[t]->pgid != outer)
			assert_int_equal(m->v[i].pgid, tasks[t]->pgid);
		else
			assert_int_equal(m->v[i].pgid, m->v[0].pgid);
	}
}

static void plan_random_trees(void **state)
{
	static Crcore__Task store[MAX];
	static Crcore__Task *tasks[MAX];
	static struct model m;
	unsigned refused = 0, helped = 0;
	const unsigned rounds = 3000;

	for (unsigned seed = 1; seed <= rounds; seed++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct births b;
		srand(seed);
		bool leads = rand() % 2;
		model_init(&m);
		live(&m, 3 + rand() % 60, leads);
		unsigned n = records(&m, store, tasks);
		if (births_plan(tasks, n, leads ? 0 : 1, leads ? 0 : 1, &b, &err) < 0) {
			refused++;
			assert_string_not_equal(err.message, "");
			continue;
		}
		helped += b.n > n;
		model_init(&m);
		carry_out(&m, &b);
		compare(&m, tasks, n, leads ? -1 : 1);
		births_free(&b);
	}
	printf("%u trees, %u with helpers, %u refused\n", rounds, helped, refused);
	assert_true(refused * 50 < rounds);
	assert_true(helped > rounds / 20);
}

/* ---- single cases --------------------------------------------------------------------- */

static Crcore__Task *task(Crcore__Task *t, int pid, int ppid, int sid, int pgid)
{
	crcore__task__init(t);
	t->pid = (uint32_t)pid;
	t->ppid = (uint32_t)ppid;
	t->sid = (uint32_t)sid;
	t->pgid = (uint32_t)pgid;
	t->exit_signal = SIGCHLD;
	t->state = CRCORE__TASK_STATE__RUNNING;
	t->mm = t->files = t->fs = t->sighand = (uint32_t)pid;
	return t;
}

static void plan_shared_memory(void **state)
{
	Crcore__Task s[3];
	Crcore__Task *t[] = { task(&s[0], 10, 1, 10, 10), task(&s[1], 11, 10, 10, 10),
	                      task(&s[2], 12, 10, 10, 10) };
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct births b;

	s[1].mm = s[2].mm = 7; /* brothers that share what their parent has not */
	assert_int_equal(births_plan(t, 3, 0, 0, &b, &err), 0);
	const struct birth *second = &b.v[b.of_task[2]];
	assert_true(second->sibling);
	assert_int_equal(second->creator, b.of_task[1]);
	assert_int_equal(second->share, CLONE_VM);
	assert_int_equal(births_moment(&b, 2), b.of_task[2]);
	births_free(&b);

	s[1].mm = 11;
	s[2].ppid = 11;
	s[2].files = s[0].files; /* with the grandparent only */
	s[2].mm = 12;
	assert_int_equal(births_plan(t, 3, 0, 0, &b, &err), -ENOTSUP);
	assert_non_null(strstr(err.message, "descriptor table"));
	assert_int_equal(err.pid, 12);
}

static void plan_daemon(void **state)
{
	/* setsid(), fork(), exit(): its session has a dead leader */
	Crcore__Task s[2];
	Crcore__Task *t[] = { task(&s[0], 10, 1, 10, 10), task(&s[1], 12, 10, 11, 11) };
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct births b;

	assert_int_equal(births_plan(t, 2, 0, 0, &b, &err), 0);
	assert_int_equal(b.n, 3);
	assert_int_equal(b.v[1].pid, 11);
	assert_true(b.v[1].leads_session && b.v[1].task < 0);
	assert_true(b.v[2].sibling && b.v[2].creator == 1 && b.v[2].joins == 11);
	assert_int_equal(b.v[2].up, 0);
	assert_int_equal(births_moment(&b, 1), 1); /* the stand-in hands the memory on */
	births_free(&b);
}

static void plan_root_with_dead_leader(void **state)
{
	Crcore__Task s[2];
	Crcore__Task *t[] = { task(&s[0], 12, 1, 11, 11), task(&s[1], 13, 12, 11, 11) };
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct births b;

	assert_int_equal(births_plan(t, 2, 0, 0, &b, &err), 0);
	assert_int_equal(b.v[0].pid, 11);
	assert_int_equal(b.v[0].up, b.of_task[0]);
	assert_true(b.v[b.of_task[0]].sibling);
	births_free(&b);
}

static void plan_refuses(void **state)
{
	Crcore__Task s[2];
	Crcore__Task *t[] = { task(&s[0], 10, 1, 10, 10), task(&s[1], 10, 10, 10, 10) };
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct births b;

	assert_int_equal(births_plan(t, 2, 0, 0, &b, &err), -ENOTSUP); /* twice the same pid */
	task(&s[1], 11, 99, 10, 10);                                   /* unknown parent */
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(births_plan(t, 2, 0, 0, &b, &err), -ENOTSUP);
	task(&s[1], 11, 10, 11, 10); /* a leader in another group */
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(births_plan(t, 2, 0, 0, &b, &err), -ENOTSUP);
	assert_int_equal(births_plan(t, 0, 0, 0, &b, &err), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_random_trees),
		cmocka_unit_test(plan_shared_memory),
		cmocka_unit_test(plan_daemon),
		cmocka_unit_test(plan_root_with_dead_leader),
		cmocka_unit_test(plan_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
