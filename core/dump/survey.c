/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A survey: all that is known of a tree at one moment, of one that runs (check,
 * and the first pass of a dump) or of a frozen one. Both take the same steps,
 * so what the first does not refuse the second will not either, unless the
 * tree changed in between; but where that would cost much and hardly ever tell
 * anything, the first pass of a dump leaves it to the second (describe.c), unless
 * it would refuse the tree: then it takes other looks, which leave nothing out (live.c).
 */
#include <xxhash.h>
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/util.h"
#include "core/util/worker.h"

static uint64_t looks_of(const struct object *o)
{
	const struct stat *st = &o->abi.st;
	const uint64_t v[] = { st->st_dev, st->st_ino, st->st_mode, (uint64_t)st->st_size,
		               (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
		               (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec };
	uint64_t h = XXH3_64bits(v, sizeof(v));

	h = XXH3_64bits_withSeed(o->link, strlen(o->link), h);
	return XXH3_64bits_withSeed(o->fdinfo, strlen(o->fdinfo), h);
}

void blockers_take(struct blockers *b, const struct object *o, struct crcore_error *err)
{
	if (GROW(b->v, b->n))
		b->v[b->n++] = (struct blocker){ *err, o ? looks_of(o) : 0, true };
	*err = (struct crcore_error)CRCORE_ERROR_INIT;
}

int blockers_refuse(const struct blockers *b, pid_t pid, struct crcore_error *err)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->n; i++) {
		if (!b->v[i].lasts)
			continue;
		if (n++)
			log_error(1, &b->v[i].err);
		else
			*err = b->v[i].err;
	}
	if (n > 1) {
		size_t len = strlen(err->message);
		snprintf(err->message + len, sizeof(err->message) - len,
		         " (and %u more: crcore check -t %d lists all)", n - 1, pid);
	}
	return n ? err->code : 0;
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
		return crcore_no_memory(err);
	for (unsigned i = 0; i < s->tree.ntasks; i++) {
		if (v[i].r < 0 && (!blockers || survey_changed(v[i].r))) {
			*err = v[i].err;
			return v[i].r;
		}
		if (v[i].r < 0)
			blockers_take(blockers, NULL, &v[i].err);
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
		blockers_take(blockers, NULL, err);
	return survey_take(s, host, blockers, err);
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
