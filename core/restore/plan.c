/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan stage: births, the hole for the region, the layout of every address
 * space. Pure computation over the records.
 */
#include <fcntl.h>
#include "core/restore/restore.h"

static int outer_session(struct restore *r, pid_t *ret_sid, pid_t *ret_pgid,
                         struct crcore_error *err)
{
	const Crcore__Manifest *m = r->manifest;

	*ret_sid = *ret_pgid = 0;
	if (!m->root_sid && !m->root_pgid)
		return 0;
	if (!r->shell_job && !r->only_plan) {
		crcore_fail_at(err, (pid_t)m->root_pid, -1, "task %u", m->root_pid);
		crcore_advise(err, "--shell-job lets it join the session of this shell instead");
		return crcore_fail(err, -ENOTSUP, "belongs to session %u and group %u outside of the tree",
		                   m->root_sid, m->root_pgid);
	}
	*ret_sid = (pid_t)(m->root_sid ? m->root_sid : r->rec.tasks[0]->sid);
	*ret_pgid = (pid_t)m->root_pgid;
	return 0;
}

/* What is mapped here must not be where the region goes: the first task begins
 * as a copy of this process. */
static int own_mappings(Crcore__Mm *mm, struct crcore_error *err)
{
	cleanup_file FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512];
	size_t n = 0;

	if (!f)
		return crcore_fail(err, -errno, "cannot open /proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		Crcore__Vma *v = malloc(sizeof(*v));
		if (sscanf(line, "%lx-%lx", &start, &end) != 2 || end > (1UL << 47)) {
			free(v);
			continue;
		}
		if (!v || !GROW(mm->vmas, n)) {
			free(v);
			return crcore_no_memory(err);
		}
		crcore__vma__init(v);
		v->start = start;
		v->end = end;
		v->backing = CRCORE__BACKING__ANON;
		mm->vmas[n++] = v;
		mm->n_vmas = n;
	}
	return 0;
}

/* Memory is inherited by birth, which is not always from the parent. Tasks in the
 * order of their births: whoever is copied stands before its copies. */
static int memory_tree(struct restore *r, Crcore__Task **tasks, struct layout_birth *ret,
                       struct crcore_error *err)
{
	cleanup_free int *at = calloc(r->births.n, sizeof(*at));
	unsigned n = 0;

	r->layout_task = calloc(r->rec.ntasks, sizeof(*r->layout_task));
	if (!at || !r->layout_task)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->births.n; i++) {
		int t = r->births.v[i].task;
		if (t < 0)
			continue;
		const struct birth *m = &r->births.v[births_moment(&r->births, (unsigned)t)];
		at[i] = (int)n;
		tasks[n] = r->rec.tasks[t];
		ret[n] = (struct layout_birth){ .parent = m->creator < 0 ? -1 : at[m->creator],
			                        .moment = (unsigned)(m - r->births.v),
			                        .rank = !m->early };
		r->layout_task[n++] = i;
	}
	return 0;
}

static int plan_memory(struct restore *r, struct crcore_error *err)
{
	cleanup_free struct layout_birth *births = calloc(r->rec.ntasks, sizeof(*births));
	cleanup_free Crcore__Task **tasks = calloc(r->rec.ntasks, sizeof(*tasks));
	cleanup_free Crcore__Mm **mms = calloc(r->rec.nmms + 1, sizeof(*mms));
	Crcore__Mm self;

	if (!births || !tasks || !mms)
		return crcore_no_memory(err);
	crcore__mm__init(&self);
	int ret = own_mappings(&self, err);
	memcpy(mms, r->rec.mms, r->rec.nmms * sizeof(*mms));
	mms[r->rec.nmms] = &self; /* of no task */
	self.id = UINT32_MAX;
	arena_size(r);
	if (ret == 0)
		ret = memory_tree(r, tasks, births, err);
	if (ret == 0)
		ret = layouts_plan(tasks, r->rec.ntasks, births, mms, r->rec.nmms + 1, r->arena.size,
		                   &r->layouts, err);
	if (ret == 0 && r->layouts.lost)
		log_line(2, "%llu shared pages come back as copies", (unsigned long long)r->layouts.lost);
	for (size_t i = 0; i < self.n_vmas; i++)
		free(self.vmas[i]);
	free(self.vmas);
	return ret;
}

/* Helpers and zombies only pass on what they got. */
static void tell_births(struct restore *r)
{
	for (unsigned i = 0; i < r->births.n; i++) {
		const struct birth *b = &r->births.v[i], *of = b;
		do
			of = of->creator < 0 ? NULL : &r->births.v[of->creator];
		while (of && (of->task < 0 || of->zombie));
		if (b->task >= 0)
			r->tasks[b->task].born_of = of ? of->pid : 0;
	}
}

int restore_plan(struct restore *r, struct crcore_error *err)
{
	pid_t sid, pgid;
	int ret = outer_session(r, &sid, &pgid, err);

	if (ret == 0)
		ret = births_plan(r->rec.tasks, r->rec.ntasks, sid, pgid, &r->births, err);
	if (ret == 0)
		ret = pids_choose(r, err);
	if (ret == 0)
		ret = plan_memory(r, err);
	if (ret == 0)
		tell_births(r);
	if (ret == 0 && r->births.v[0].task < 0 && policy_core(r->cmd->policy, "restore.sibling")->b) {
		crcore_advise(err, "restore it without --restore-sibling");
		ret = crcore_fail(err, -ENOTSUP, "the leader of the root's session is dead; so it can only "
		                  "become a child of crcore");
	}
	return ret;
}
