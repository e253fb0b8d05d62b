/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The survey of a tree that runs. What is found wanting of it may be so only for the look: what was
 * listed first has changed when the rest is looked at, so that, say, a connection seems to lead out
 * of the tree. Nobody may be refused for that. So there are more looks before a refusal, a few
 * milliseconds from each other, and only what lasts counts:
 *
 * - all of them found the same wanting of the same object, which looked the same, and
 * - it concerns that object by itself, or no thread of the tree has run from the first look to the
 *   last, nor keeps open what another has closed (core/task/quiet.h). Then what was seen is what
 *   would be seen of a frozen tree.
 *
 * All else is decided when the tree is frozen.
 */
#include "core/dump/dump.h"
#include "core/task/quiet.h"
#include "core/util/util.h"

#define LOOKS 3
#define PAUSE_US 5000 /* between two: what the kernel is about to finish by itself, it has */

/* Did tasks come or go since the survey's look? */
static bool tasks_changed(const struct survey *s, const struct tree *now)
{
	bool same = now->ntasks == s->tree.ntasks;

	for (unsigned i = 0; same && i < now->ntasks; i++)
		same = tree_find(&s->tree, now->tasks[i]->abi.pid) != NULL;
	return !same;
}

static bool same_blocker(const struct blocker *a, const struct blocker *b)
{
	return a->looks == b->looks && a->err.pid == b->err.pid && a->err.fd == b->err.fd &&
	       !strcmp(a->err.object, b->err.object) && !strcmp(a->err.message, b->err.message);
}

static bool seen_before(const struct blockers *before, const struct blocker *b)
{
	for (unsigned i = 0; i < before->n; i++)
		if (before->v[i].lasts && same_blocker(&before->v[i], b))
			return true;
	return false;
}

static int look(struct survey *s, const struct command *cmd, struct host *host,
                struct blockers *blockers, struct quiet *ret, struct crcore_error *err)
{
	const struct survey again = { .flags = s->flags };

	host_forget(host);
	survey_free(s);
	*s = again;
	int r = tree_look(cmd->pid, &s->tree, err);
	if (r == 0)
		r = quiet_look(&s->tree, ret, err);
	return r < 0 ? r : survey_look(s, cmd, host, blockers, err);
}

/* The last of several looks is s: does what it found of the tree as a whole last? */
static int judge(struct survey *s, const struct command *cmd, struct blockers *blockers,
                 const struct quiet *since, struct crcore_error *err)
{
	struct tree tree = { 0 };
	struct quiet now = { 0 };
	int r = tree_look(cmd->pid, &tree, err);

	if (r == 0 && (r = quiet_look(&tree, &now, err)) == 0 && tasks_changed(s, &tree)) {
		crcore_fail_at(err, cmd->pid, -1, "tree of %u tasks", s->tree.ntasks);
		r = crcore_fail(err, -EAGAIN, "tasks come and go while it is looked at");
	}
	bool quiet = r == 0 && quiet_since(&now, since) && quiet_keeps_nothing(&now, &s->tree);
	for (unsigned i = blockers->nalone; i < blockers->n; i++)
		blockers->v[i].lasts = blockers->v[i].lasts && quiet;
	quiet_free(&now);
	tree_free(&tree);
	return r;
}

static int look_again(struct survey *s, const struct command *cmd, struct host *host,
                      struct blockers *blockers, struct crcore_error *err)
{
	struct quiet since = { 0 };
	bool quiet = true;
	int r = 0;

	blockers_free(blockers); /* that look may have left out much */
	for (unsigned i = 0; i < LOOKS && r == 0 && (i == 0 || blockers->n); i++) {
		struct blockers before = *blockers;
		struct quiet now = { 0 };
		*blockers = (struct blockers){ 0 };
		if (i)
			usleep(PAUSE_US);
		r = look(s, cmd, host, blockers, &now, err);
		quiet = quiet && (i == 0 || quiet_since(&now, &since));
		for (unsigned k = 0; i && k < blockers->n; k++)
			blockers->v[k].lasts = seen_before(&before, &blockers->v[k]);
		blockers_free(&before);
		quiet_free(&since);
		since = now;
	}
	if (!quiet)
		quiet_free(&since);
	if (r == 0 && blockers->n)
		r = judge(s, cmd, blockers, &since, err);
	quiet_free(&since);
	return r;
}

int survey_look_live(struct survey *s, const struct command *cmd, struct host *host,
                     struct blockers *blockers, struct crcore_error *err)
{
	int r = survey_look(s, cmd, host, blockers, err);

	return r == 0 && blockers->n ? look_again(s, cmd, host, blockers, err) : r;
}
