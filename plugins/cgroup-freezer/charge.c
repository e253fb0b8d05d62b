/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: who pays. The kernel charges a page to the group of whoever touches it first, and
 * it stays there. So a task goes into its group of that hierarchy before its memory is
 * filled, by itself, as the first thing; those it clones are born there. What crcore
 * fills for the tree (shared memory) it fills as a member of the group of its root.
 *
 * All other hierarchies come when the tree is complete (place.c): there a limit could only
 * hinder those who build it.
 */
#include "cgroup-freezer.h"

#include <sys/syscall.h>
#include "plugins/args.h"

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = text; *p; p += strcspn(p, ", \n"), p += *p != '\0')
		if (!strncmp(p, word, n) && strchr(", \n", p[n]))
			return true;
	return false;
}

static bool charges(const struct rgroup *g)
{
	char text[512];

	if (!g->h->v2)
		return has_word(g->h->key, "memory") || has_word(g->h->key, "hugetlb");
	/* All controllers at once: where tasks are counted there must be room for helpers. */
	if (group_read(g->h, g->path, "pids.max", text, sizeof(text)) > 0 && strcmp(text, "max\n"))
		return false;
	return group_read(g->h, g->path, "cgroup.controllers", text, sizeof(text)) > 0 &&
	       (has_word(text, "memory") || has_word(text, "hugetlb"));
}

/* ---- tasks -------------------------------------------------------------------------------- */

static int enter(struct rgroup *g, struct crcore_program *p, struct crcore_error *err)
{
	const struct crcore_host *host = g->cg->host;
	uint32_t fd;

	if (g->procs < 0 && (g->procs = group_open(g->h, g->path, "cgroup.procs", O_WRONLY)) < 0)
		return 0; /* of a plan; else place.c will say why */
	int r = host->hand(g->cg->ctx, p, g->procs, &fd, err);
	if (r < 0)
		return r;
	host->call(p, "cgroup-freezer: enter group", SYS_write,
	           ARGS(RESULT(fd), DATA(host->data(p, "0", 1)), IMM(1)), CRCORE_ANY, 0);
	host->call(p, "cgroup-freezer: close", SYS_close, ARGS(RESULT(fd)), CRCORE_EQUAL, 0);
	return 0;
}

int charge_emit(struct cg *cg, const struct crcore_task *t, struct crcore_program *p,
                struct crcore_error *err)
{
	const CgroupFreezer__Member *m = find_member(cg, t->pid, t->pid);
	int r = 0;

	charge_leave(cg);
	if (!CRCORE_HAS(cg->host, hand) || !CRCORE_HAS(t, born_of))
		return 0;
	for (size_t i = 0; m && r == 0 && i < m->n_groups; i++) {
		struct rgroup *g = cg->groups[m->groups[i] - 1];
		const CgroupFreezer__Member *of = t->born_of ? find_member(cg, t->born_of, t->born_of) :
		                                               NULL;
		bool born_there = false;
		for (size_t k = 0; of && k < of->n_groups; k++)
			born_there |= of->groups[k] == m->groups[i];
		if (!born_there && charges(g))
			r = enter(g, p, err);
	}
	return r;
}

/* ---- crcore -------------------------------------------------------------- */

static void leave(void *arg)
{
	charge_leave(arg);
}

void charge_leave(struct cg *cg)
{
	for (unsigned i = 0; i < cg->ngroups; i++)
		if (cg->groups[i]->entered)
			group_write(cg->groups[i]->h, cg->groups[i]->h->own, "cgroup.procs", "0");
	for (unsigned i = 0; i < cg->ngroups; i++)
		cg->groups[i]->entered = false;
}

int charge_enter(struct cg *cg, struct crcore_error *err)
{
	const struct crcore_task *root = cg->host->task(cg->ctx, 0);
	const CgroupFreezer__Member *m = root ? find_member(cg, root->pid, root->pid) : NULL;
	int r = m ? cg->host->undo(cg->ctx, leave, cg, false, err) : 0;

	for (size_t i = 0; r == 0 && m && i < m->n_groups; i++) {
		struct rgroup *g = cg->groups[m->groups[i] - 1];
		if (charges(g) && group_write(g->h, g->path, "cgroup.procs", "0") == 0)
			g->entered = true;
	}
	return r;
}
