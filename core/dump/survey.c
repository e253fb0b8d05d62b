/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A survey: all that is known of a tree at one moment, of one that runs (check,
 * and the first pass of a dump) or of a frozen one. Both take the same steps,
 * so what the first does not refuse the second will not either, unless the
 * tree changed in between; but where that would cost much and hardly ever tell
 * anything, the first pass of a dump leaves it to the second (describe.c), unless
 * it would refuse the tree: then it takes another look, which leaves nothing out.
 */
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/util.h"
#include "core/util/worker.h"

void blockers_take(struct blockers *b, struct crcore_error *err)
{
	if (GROW(b->v, b->n))
		b->v[b->n++] = *err;
	*err = (struct crcore_error)CRCORE_ERROR_INIT;
}

int blockers_refuse(const struct blockers *b, pid_t pid, struct crcore_error *err)
{
	if (!b->n)
		return 0;
	*err = b->v[0];
	for (unsigned i = 1; i < b->n; i++)
		log_error(1, &b->v[i]);
	if (b->n > 1) {
		size_t len = strlen(err->message);
		snprintf(err->message + len, sizeof(err->message) - len,
		         " (and %u more: crcore check -t %d lists all)", b->n - 1, pid);
	}
	return err->code;
}

void blockers_free(struct blockers *b)
{
	free(b->v);
	*b = (struct blockers){ 0 };
}

bool survey_changed(int r)
{
	return r == -EAGAIN || r == -ESRCH;
}

/* ---- getting ready ------------------------------------------------------------------ */

struct preparing { struct flags *flags; struct alike_how *alike; const struct tree *tree; };

static void prepare_range(void *arg, size_t from, size_t to)
{
	const struct preparing *p = arg;

	for (size_t i = from; i < to; i++)
		if (i == 0)
			flags_prepare(p->flags, p->tree);
		else
			alike_prepare(p->alike);
}

void survey_prepare(struct flags *flags, struct alike_how *alike, struct tree *tree)
{
	struct preparing p = { flags, alike, tree };

	if (alike_is_worth_it(tree))
		parallel_few(2, prepare_range, &p);
	else
		prepare_range(&p, 0, 1);
	alike_tell(alike, tree);
}

/* ---- looking ------------------------------------------------------------------------ */

struct checks {
	const struct places *ours;
	bool filters;
};

static int check_place(void *arg, struct task *t, struct crcore_error *err)
{
	const struct checks *c = arg;

	return task_check_place(t, c->ours, c->filters, err);
}

static int check_places(struct survey *s, struct host *host, struct blockers *blockers,
                        struct crcore_error *err)
{
	struct checks c = { &s->ours, host_keeps(host, "seccomp") };
	int r = places_ours(s->tree.tasks[0], &s->ours, err);

	if (r < 0)
		return r;
	cleanup_free struct finding *v = tasks_look(s->tree.tasks, s->tree.ntasks, check_place, &c);
	if (!v)
		return crcore_fail(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < s->tree.ntasks; i++) {
		if (v[i].r < 0 && (!blockers || survey_changed(v[i].r))) {
			*err = v[i].err;
			return v[i].r;
		}
		if (v[i].r < 0)
			blockers_take(blockers, &v[i].err);
	}
	return 0;
}

/* A session keeps its device even if all its tasks have closed it. */
static int load_for_sessions(const struct tree *tree, struct host *host, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < tree->ntasks; i++)
		if (tree->tasks[i]->session_dev)
			r = host_load_for(host, S_IFCHR, tree->tasks[i]->session_dev, err);
	return r;
}

static int survey_take(struct survey *s, struct host *host, struct blockers *blockers,
                       struct crcore_error *err)
{
	int r;

	if ((r = worker_check(err)) < 0 || (r = check_places(s, host, blockers, err)) < 0 ||
	    (r = load_for_sessions(&s->tree, host, err)) < 0 || (r = survey_sharing(s, err)) < 0)
		return r;
	return survey_objects(s, host, blockers, err);
}

int survey_look(struct survey *s, const struct command *cmd, struct host *host,
                struct blockers *blockers, struct crcore_error *err)
{
	int r = tree_check_session(&s->tree, policy_core(cmd->policy, "dump.shell-job")->b, err);

	if (r < 0)
		blockers_take(blockers, err);
	return survey_take(s, host, blockers, err);
}

/* Did tasks come or go since the survey's look at a tree that runs? */
static bool tasks_changed(const struct survey *s, pid_t root)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct tree now = { 0 };
	bool same = tree_look(root, &now, &ignored) == 0 && now.ntasks == s->tree.ntasks;

	for (unsigned i = 0; same && i < now.ntasks; i++)
		same = tree_find(&s->tree, now.tasks[i]->abi.pid) != NULL;
	tree_free(&now);
	return !same;
}

static int look_thoroughly(struct survey *s, const struct command *cmd, struct host *host,
                           struct blockers *blockers, struct crcore_error *err)
{
	const struct survey again = { .flags = s->flags };

	blockers_free(blockers);
	host_forget(host);
	survey_free(s);
	*s = again;
	int r = tree_look(cmd->pid, &s->tree, err);
	return r < 0 ? r : survey_look(s, cmd, host, blockers, err);
}

int survey_look_live(struct survey *s, const struct command *cmd, struct host *host,
                     struct blockers *blockers, struct crcore_error *err)
{
	int r = survey_look(s, cmd, host, blockers, err);

	if (r == 0 && blockers->n && s->quick)
		r = look_thoroughly(s, cmd, host, blockers, err);
	if (r == 0 && blockers->n && tasks_changed(s, cmd->pid)) {
		crcore_fail_at(err, cmd->pid, -1, "tree of %u tasks", s->tree.ntasks);
		r = crcore_fail(err, -EAGAIN, "tasks come and go while it is looked at");
	}
	return r;
}

void survey_free(struct survey *s)
{
	objects_free(&s->objects);
	for (unsigned i = 0; i < s->nfiles; i++)
		crcore__files__free_unpacked(s->files[i], NULL);
	for (unsigned i = 0; i < s->nfs; i++)
		crcore__fs__free_unpacked(s->fs[i], NULL);
	for (unsigned i = 0; i < s->nsighands; i++)
		crcore__sighand__free_unpacked(s->sighands[i], NULL);
	for (unsigned i = 0; i < s->nsegments; i++)
		crcore__segment__free_unpacked(s->segments[i], NULL);
	free(s->files);
	free(s->fs);
	free(s->sighands);
	free(s->segments);
	orders_free(&s->orders);
	lists_free(&s->lists);
	tree_free(&s->tree);
	*s = (struct survey){ 0 };
}
