/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: every thread into its groups, once all of them exist; the settings that
 * would have hindered them; and, when nothing of crcore is left in any task, the
 * state of the freezer.
 */
#include "cgroup-freezer.h"

const CgroupFreezer__Member *find_member(const struct cg *cg, pid_t pid, pid_t tid)
{
	const CgroupFreezer__Member *all = NULL;

	for (unsigned i = 0; i < cg->nplaces; i++) {
		const CgroupFreezer__Member *m = cg->places[i];
		if ((pid_t)m->pid != pid)
			continue;
		if ((pid_t)m->tid == tid)
			return m;
		if (!m->tid)
			all = m;
	}
	return all;
}

/* The group of a hierarchy, crcore's own if the image names none. */
static const char *target(const struct cg *cg, const CgroupFreezer__Member *m,
                          const struct hierarchy *h)
{
	for (size_t i = 0; i < m->n_groups; i++) {
		const struct rgroup *g = cg->groups[m->groups[i] - 1];
		if (g->h == h)
			return g->path;
	}
	return h->own;
}

static bool is_there(const struct set *now, const struct hierarchy *h, const char *path)
{
	size_t len = 0;
	const char *p = set_path(now, h, &len);

	return p && len == strlen(path) && !memcmp(p, path, len);
}

/* A process enters a group of threads only by way of the group that is their domain. */
static int move_process(const struct hierarchy *h, const char *path, const char *pid)
{
	char up[PATH_MAX];
	int r = group_write(h, path, "cgroup.procs", pid);

	snprintf(up, sizeof(up), "%s", path);
	while (r == -EOPNOTSUPP && h->v2 && up[1]) {
		*strrchr(up, '/') = '\0';
		if (!*up)
			strcpy(up, "/");
		r = group_write(h, up, "cgroup.procs", pid);
	}
	return r;
}

static int move(const struct hierarchy *h, const char *path, pid_t pid, bool process,
                struct crcore_error *err)
{
	char text[16];
	int r;

	snprintf(text, sizeof(text), "%d", pid);
	r = process ? move_process(h, path, text)
	            : group_write(h, path, h->v2 ? "cgroup.threads" : "tasks", text);
	if (r == 0)
		return 0;
	crcore_fail_at(err, pid, -1, "cgroup %s%s", h->mount, path);
	if (r == -ENOSPC)
		crcore_advise(err, "give the group processors and memory nodes (cpuset)");
	return crcore_fail(err, r, "it cannot be put there: %s", strerror(-r));
}

static bool is_used(const struct cg *cg, const struct hierarchy *h)
{
	for (unsigned i = 0; i < cg->ngroups; i++)
		if (cg->groups[i]->h == h)
			return true;
	return false;
}

/* The whole process to where its first thread is, then those that are elsewhere. */
static int place_thread(struct cg *cg, pid_t pid, pid_t tid, bool whole, struct crcore_error *err)
{
	const CgroupFreezer__Member *m = find_member(cg, pid, tid);
	struct set now = { 0 };
	char name[64];
	int r;

	if (!m)
		return 0;
	snprintf(name, sizeof(name), "/proc/%d/task/%d/cgroup", pid, tid);
	if ((r = read_whole(AT_FDCWD, name, &now.text)) < 0) {
		crcore_fail_at(err, pid, -1, "thread %d", tid);
		return crcore_fail(err, r, "cannot see its control groups: %s", strerror(-r));
	}
	for (unsigned i = 0; r == 0 && i < cg->nhier; i++) {
		const struct hierarchy *h = &cg->hier[i];
		const char *path = is_used(cg, h) ? target(cg, m, h) : NULL;
		if (path && !is_there(&now, h, path))
			r = move(h, path, tid, whole, err);
	}
	free(now.text);
	return r;
}

static int place_all(struct cg *cg, struct crcore_error *err)
{
	const struct crcore_task *t;
	int r = 0;

	for (uint32_t i = 0; r == 0 && (t = cg->host->task(cg->ctx, i)); i++) {
		if (t->state == CRCORE_TASK_ZOMBIE)
			continue;
		r = place_thread(cg, t->pid, t->pid, true, err);
		for (uint32_t k = 0; r == 0 && k < t->nthreads; k++)
			r = place_thread(cg, t->pid, t->tids[k], false, err);
	}
	return r;
}

int groups_settle(struct cg *cg, struct crcore_error *err)
{
	int r = cg->nplaces ? place_all(cg, err) : 0;

	for (unsigned i = 0; r == 0 && i < cg->ngroups; i++)
		r = group_set(cg->groups[i], false, err);
	return r;
}

/* ---- paused again ---------------------------------------------------------------------- */

static void thaw(void *arg)
{
	struct rgroup *g = arg;

	if (g->frozen)
		frost_write(g->h, g->path, false);
	g->frozen = false;
}

int groups_release(struct cg *cg, struct crcore_error *err)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cg->ngroups; i++) {
		struct rgroup *g = cg->groups[i];
		if (!g->rec->frozen || g->skipped || !g->h->freezer || !g->path[1])
			continue;
		int r = cg->host->undo(cg->ctx, thaw, g, false, err);
		if (r < 0 || (r = frost_will(g->cg, g->h, g->path, false, err)) < 0)
			return r;
		g->frozen = true;
		if ((r = frost_write(g->h, g->path, true)) < 0)
			return group_fail(g, r, "cannot be frozen", err);
		n++;
	}
	for (unsigned i = 0; i < cg->ngroups; i++)
		if (cg->groups[i]->frozen && !await_frozen(cg->groups[i]->h, cg->groups[i]->path))
			cg->host->log(cg->ctx, 1, "cgroup %s is not frozen yet", cg->groups[i]->path);
	return n > 0;
}

int groups_wake(struct cg *cg, struct crcore_error *err)
{
	for (unsigned i = 0; i < cg->ngroups; i++)
		thaw(cg->groups[i]);
	return 0;
}
