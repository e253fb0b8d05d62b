/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying memory ahead (core/memory/watch.c) as a stage of a dump: the tree is
 * frozen for a moment to be put under watch, and runs again while its memory is
 * saved. Where that is not worth it, or would miss something, the tree stands
 * still for all of the copying, as without it. That stop is also where a watch
 * that an earlier dump left is taken over, and where one for the next dump begins.
 */
#include <fcntl.h>
#include "core/dump/dump.h"
#include "core/util/trace.h"
#include "core/util/util.h"
#include "core/util/worker.h"

#define WORTH_KIB (16u << 10)     /* copied in the time that the first stop takes */
#define WORTH_TASK_KIB (4u << 10) /* ... and that the stops of one more process take */

#define END_TIMEOUT 1000000000ull /* ns */

enum { AUTO, YES, NO }; /* dump.copy-ahead */

/* A device may write into memory behind the processor's back (direct reads), which no write
 * protection sees. */
static const struct object *find_direct(const struct survey *live)
{
	for (unsigned i = 0; i < live->objects.n; i++) {
		const struct crcore_object *o = &live->objects.v[i]->abi;
		if (o->class_ == CRCORE_DESCRIPTION && (o->flags & O_DIRECT) &&
		    (S_ISREG(o->st.st_mode) || S_ISBLK(o->st.st_mode)))
			return live->objects.v[i];
	}
	return NULL;
}

static uint64_t anonymous_kib(const struct survey *live)
{
	uint64_t kib = 0;

	for (unsigned i = 0; i < live->tree.ntasks; i++)
		kib += live->tree.tasks[i]->anon_kib;
	return kib;
}

/* Whoever asked for a chain is to know why all is saved. */
static void tell(const struct ahead *a, const char *what, const char *why)
{
	bool chain = a->track || a->since;
	const char *then = chain ? "all memory is saved" : "nothing is copied ahead";

	log_line(chain ? 1 : 2, "%s%s: %s%s", then, a->track ? ", and not tracked" : "", what, why);
}

/* 1: nothing is read directly, 0: something is, and the policy leaves it to us. */
static int allow(const struct ahead *a, const struct survey *s, struct crcore_error *err)
{
	const struct object *direct = find_direct(s);

	if (!direct)
		return 1;
	if (!a->must) {
		tell(a, direct->link, " is read directly");
		return 0;
	}
	crcore_fail_at(err, direct->abi.pid, direct->abi.fd, "%s", direct->link);
	crcore_advise(err, "use dump.copy-ahead=no or =auto");
	return crcore_fail(err, -ENOTSUP, "it is open with O_DIRECT, so memory cannot be copied ahead");
}

int ahead_wanted(struct ahead *a, const struct survey *live, bool complete,
                 const struct command *cmd, bool goes_on, struct crcore_error *err)
{
	int64_t want = policy_core(cmd->policy, "dump.copy-ahead")->i;
	uint64_t worth = WORTH_KIB + WORTH_TASK_KIB * (uint64_t)live->tree.ntasks;

	a->rounds = want == YES || (want == AUTO && goes_on && anonymous_kib(live) >= worth);
	if (!a->rounds && !a->track && !a->since)
		return 0;
	a->must = want == YES;
	a->unsure = !complete;
	int r = complete ? allow(a, live, err) : 1;
	if (r > 0)
		watch_look_for_marks(&live->tree, &a->unmarked);
	return r;
}

/* The watch that the image before left, if it still is. */
static void take_over(struct ahead *a)
{
	struct crcore_error why = CRCORE_ERROR_INIT;

	if (!a->since || since_take(a->since, &why) == 0)
		return;
	log_line(1, "all memory is saved: %s", why.message);
	since_free(STEAL(a->since));
}

/* The tree stands still only here. 0: it is not to be watched. */
static int put_under_watch(struct ahead *a, const struct ahead_means *by, struct image *image,
                           uint64_t timeout_ns, struct crcore_error *err)
{
	struct watch_how how = { .begin = a->rounds || a->track, .rounds = a->rounds,
		                 .keep = a->track, .flags = a->flags,
		                 .unmarked = &a->unmarked, .timeout_ns = timeout_ns };
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	int r = survey_sharing(&a->survey, err);

	if (r == 0 && a->unsure)
		r = survey_descriptors(&a->survey, err);
	if (r < 0 || (r = allow(a, &a->survey, err)) <= 0)
		return r;
	take_over(a);
	how.since = a->since;
	if ((!how.begin && !how.since) || (r = by->wake(by->arg, CRCORE_WAKE_RUN, err)) < 0)
		return r < 0 ? r : 0;
	r = watch_begin(&a->survey.tree, image, &how, &a->watch, err);
	int e = by->rest(by->arg, r < 0 ? &ignored : err);
	return r < 0 ? r : e;
}

/* Stops the tree, and begins the watch or watches more of it. */
static int freeze_for(struct ahead *a, const struct ahead_means *by, struct tree *tree,
                      struct image *begin, uint64_t timeout_ns, struct crcore_error *err)
{
	uint64_t start = now_ns();
	int r = by->freeze(by->arg, tree, err);

	if (r == 0)
		r = begin ? put_under_watch(a, by, begin, timeout_ns, err) :
		            watch_more(a->watch, err);
	by->thaw(by->arg, tree, LEAVE_RUNNING);
	a->stood_ns += now_ns() - start;
	trace_end(start, TRACE_TREE, "frozen", "stands still");
	return r;
}

/* Rounds, until they are no longer worth it. */
static int copy(struct ahead *a, const struct ahead_means *by, uint64_t timeout_ns,
                struct crcore_error *err)
{
	int r;

	while ((r = watch_copy(a->watch, err)) > 0) {
		struct tree tree = { 0 };
		struct crcore_error why = CRCORE_ERROR_INIT;
		if (freeze_for(a, by, &tree, NULL, timeout_ns, &why) < 0)
			log_line(2, "not all is copied ahead: %s", why.message);
		tree_free(&tree);
		if ((r = worker_check(err)) < 0)
			break;
	}
	return r;
}

int ahead_copy(struct ahead *a, const struct ahead_means *by, struct image *image,
               uint64_t timeout_ns, struct crcore_error *err)
{
	struct crcore_error why = CRCORE_ERROR_INIT;
	int r = freeze_for(a, by, &a->survey.tree, image, timeout_ns, &why);

	if (r == 0)
		return a->watch ? copy(a, by, timeout_ns, err) : 0;
	watch_end(STEAL(a->watch)); /* begun, but nothing is known of what it has */
	if (worker_check(err) < 0)
		return -ECANCELED;
	if (a->must) {
		*err = why;
		return r;
	}
	tell(a, why.message, "");
	return 0;
}

bool ahead_continues(const struct ahead *a)
{
	return a->watch && a->since;
}

/* A last short stop, or else the tree waits for its memory while the watch ends. */
static void end_watch(struct ahead *a)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct tree tree = { 0 };

	watch_lift(a->watch);
	uint64_t start = now_ns();
	if (tree_freeze(a->survey.tree.tasks[0]->abi.pid, END_TIMEOUT, NULL, &tree, &ignored) == 0)
		watch_ready_to_end(a->watch);
	watch_end(STEAL(a->watch));
	tree_thaw(&tree, LEAVE_RUNNING, NULL);
	a->stood_ns += now_ns() - start;
	trace_end(start, TRACE_TREE, "frozen", "stands still");
	tree_free(&tree);
}

void ahead_end(struct ahead *a, bool runs)
{
	if (a->watch && runs && !a->kept)
		end_watch(a);
	watch_end(STEAL(a->watch));
	since_free(STEAL(a->since));
	free(STEAL(a->unmarked.v));
	survey_free(&a->survey);
}
