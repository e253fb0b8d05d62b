/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore dump`, stage by stage: load, observe, freeze, collect, ask, hold,
 * save, seal, release. Each stage is one function; whichever fails, everything
 * before it is taken back in dump_end() and the tree goes on as it was.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include "core/dump/dump.h"
#include "core/util/trace.h"
#include "core/util/util.h"
#include "core/util/worker.h"

struct dump {
	struct command *cmd;
	struct host *host;
	struct image *image;
	struct survey survey;              /* of the frozen tree */
	struct survey *live;               /* of the running tree, while there is one */
	struct ahead ahead;
	struct flags *flags;               /* how flags of mappings are read */
	struct alike_how alike;            /* how it is told what tasks have in common */
	struct save *memory;
	struct observations *observations;
	struct questions questions;
	struct pauses pauses;              /* how a tree that does not run is woken, if ... */
	bool paused, copy_ahead;           /* ... some of it does not; ahead is to be used */
	struct contents *contents;         /* what plugins handed over; the descriptors are ours */
	unsigned ncontents;
	enum leave leave;
	uint64_t timeout_ns, frozen_at, stood_ns;
	struct namespaces namespaces;      /* of the tree, not ours; entered where need be */
	struct ending *ending;             /* of a tree that is killed */
};

/* ---- services for plugins ------------------------------------------------------------- */

static int serve_put_record(void *arg, struct crcore_ctx *ctx, const char *section, const void *msg,
                            size_t len, struct crcore_error *err)
{
	struct dump *d = arg;

	return image_put(d->image, ctx->p.name, section, msg, len, err);
}

static int serve_blob(void *arg, struct crcore_ctx *ctx, const char *section,
                      struct crcore_error *err)
{
	struct dump *d = arg;
	char name[160];

	snprintf(name, sizeof(name), "%s.%s.bin", ctx->p.name, section);
	return image_bulk(d->image, name, err);
}

static int serve_save_contents(void *arg, struct crcore_ctx *ctx, uint64_t key, int fd,
                               struct crcore_error *err)
{
	struct dump *d = arg;
	int copy = GROW(d->contents, d->ncontents) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (copy < 0)
		return crcore_fail(err, -errno, "cannot keep a descriptor: %s", strerror(errno));
	d->contents[d->ncontents++] = (struct contents){ ctx->p.name, key, copy };
	return 0;
}

static int serve_found(void *arg, struct crcore_ctx *ctx, int fd, struct crcore_error *err)
{
	struct dump *d = arg;

	if (d->live) {
		d->live->incomplete |= fd >= 0;
		return 0;
	}
	return fd < 0 ? INT_MAX : survey_found(&d->survey, fd, err);
}

static const struct crcore_task *serve_task(void *arg, uint32_t index)
{
	struct dump *d = arg;
	const struct tree *tree = d->live ? &d->live->tree : &d->survey.tree;

	return index < tree->ntasks ? &tree->tasks[index]->abi : NULL;
}

/* ---- stages ----------------------------------------------------------------------------- */

static int stage_load(struct dump *d, struct crcore_error *err)
{
	struct policy *p = d->cmd->policy;
	int64_t leave = policy_core(p, "dump.leave")->i;
	int r;

	d->leave = leave == 1 ? LEAVE_RUNNING : leave == 2 ? LEAVE_STOPPED : LEAVE_KILLED;
	d->timeout_ns = (uint64_t)policy_core(p, "dump.timeout")->i;
	if ((r = needs_check(err)) < 0 || (r = host_load_lazily(p, &d->host, err)) < 0)
		return r;
	d->host->services = (struct host_services){
		.leave = d->leave == LEAVE_KILLED ? CRCORE_LEAVE_KILLED :
		         d->leave == LEAVE_RUNNING ? CRCORE_LEAVE_RUNNING : CRCORE_LEAVE_STOPPED,
		.put_record = serve_put_record, .blob = serve_blob, .task = serve_task,
		.save_contents = serve_save_contents, .found = serve_found, .arg = d,
	};
	r = make_image(d->cmd, &d->image, err);
	alike_open(&d->alike);
	r = r < 0 ? r : flags_open(&d->flags, err);
	r = r < 0 ? r : previous_open(&d->ahead, d->cmd, d->leave != LEAVE_KILLED, err);
	return r < 0 ? r : places_enter(&d->namespaces, d->cmd->pid, d->host, err);
}

/* The tree still runs: everything that can be refused is refused here. */
static int stage_observe(struct dump *d, struct crcore_error *err)
{
	struct survey live = { .quick = true };
	struct blockers blockers = { 0 };
	struct crcore_error changed = CRCORE_ERROR_INIT;
	int r = tree_look(d->cmd->pid, &live.tree, err);

	d->live = &live;
	if (r == 0)
		survey_prepare(d->flags, &d->alike, &live.tree);
	d->ahead.flags = d->survey.flags = live.flags = d->flags;
	if (r == 0 && (r = host_run(d->host, STAGE_OBSERVE, err)) == 0 &&
	    (r = survey_look_live(&live, d->cmd, d->host, &blockers, &changed)) == 0)
		r = live.incomplete ? 0 : blockers_refuse(&blockers, d->cmd->pid, err);
	else if (survey_changed(changed.code))
		r = 0; /* it changed under the look: the frozen tree decides */
	else if (changed.code)
		*err = changed;
	if (r == 0)
		r = ahead_wanted(&d->ahead, &live, !changed.code, d->cmd,
		                 d->leave == LEAVE_RUNNING, err);
	d->copy_ahead = r > 0;
	if (r >= 0)
		d->observations = observe_waits(&live.tree);
	host_forget(d->host);
	d->live = NULL;
	d->survey.orders = live.orders;
	live.orders = (struct orders){ 0 };
	d->survey.lists = live.lists;
	live.lists = (struct lists){ 0 };
	d->survey.ours = live.ours;
	survey_free(&live);
	blockers_free(&blockers);
	return r < 0 ? r : 0;
}

static int wake(void *arg, uint32_t how, struct crcore_error *err)
{
	struct dump *d = arg;

	return d->paused ? host_wake(d->host, how, err) : 0;
}

static int rest(void *arg, struct crcore_error *err)
{
	struct dump *d = arg;
	return d->paused ? host_run(d->host, STAGE_REST, err) : 0;
}

static int freeze(void *arg, struct tree *tree, struct crcore_error *err)
{
	struct dump *d = arg;

	d->pauses = (struct pauses){ wake, rest, d };
	int r = host_run(d->host, STAGE_PAUSE, err);

	d->paused = r > 0;
	if (r >= 0)
		r = tree_freeze(d->cmd->pid, d->timeout_ns, d->paused ? &d->pauses : NULL, tree, err);
	return r;
}

static int freeze_ahead(void *arg, struct tree *tree, struct crcore_error *err)
{
	struct dump *d = arg;
	int r = freeze(d, tree, err);

	if (r == 0)
		observe_stopped(d->observations, tree);
	return r;
}

static void thaw(void *arg, struct tree *tree, enum leave leave)
{
	struct dump *d = arg;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	rest(d, &ignored);
	tree_thaw(tree, leave, d->paused ? &d->pauses : NULL);
}

/* The tree runs but for a moment: most of its memory is copied now, what it writes to
 * meanwhile when it stands still. */
static int stage_copy_ahead(struct dump *d, struct crcore_error *err)
{
	const struct ahead_means means = { freeze_ahead, thaw, wake, rest, d };
	struct tree tree = { 0 };
	struct crcore_error changed = CRCORE_ERROR_INIT;
	int r;

	if (!d->copy_ahead)
		return 0;
	r = ahead_copy(&d->ahead, &means, d->image, d->timeout_ns, err);
	if (r == 0 && tree_look(d->cmd->pid, &tree, &changed) == 0)
		d->observations = observe_again(&tree, d->observations);
	tree_free(&tree);
	d->survey.watch = d->ahead.watch;
	return r;
}

static int stage_freeze(struct dump *d, struct crcore_error *err)
{
	d->frozen_at = now_ns();
	int r = freeze(d, &d->survey.tree, err);

	if (r < 0)
		return r;
	observations_apply(d->observations, &d->survey.tree);
	return restarts_tell(&d->survey.tree, d->paused ? &d->pauses : NULL, err);
}

static int stage_collect(struct dump *d, struct crcore_error *err)
{
	struct blockers blockers = { 0 };
	struct tree *tree = &d->survey.tree;

	objects_keep(&d->survey.objects);
	alike_tell(&d->alike, tree);
	int r = survey_look(&d->survey, d->cmd, d->host, &blockers, err);

	if (r == 0)
		r = blockers_refuse(&blockers, d->cmd->pid, err);
	blockers_free(&blockers);
	for (unsigned i = 0; i < tree->ntasks; i++)
		tree->tasks[i]->abi.namespaces = d->namespaces.types;
	return r == 0 ? survey_collect(&d->survey, err) : r;
}

static int stage_ask(struct dump *d, struct crcore_error *err)
{
	d->questions = (struct questions){ &d->survey.tree, d->host };
	int r = questions_write(&d->questions, err);

	if (r < 0 || (r = wake(d, CRCORE_WAKE_RUN, err)) < 0 ||
	    (r = questions_run(&d->questions, d->timeout_ns, err)) < 0 || (r = rest(d, err)) < 0)
		return r;
	return questions_answers(&d->questions, err);
}

static int stage_save(struct dump *d, struct crcore_error *err)
{
	int r;

	/* Memory is last: plugins may add to what is read like memory. */
	if ((r = survey_save_objects(&d->survey, d->host, err)) < 0 ||
	    (r = host_run(d->host, STAGE_SAVE, err)) < 0)
		return r;
	return memory_save(&d->survey.tree, d->image, d->ahead.watch, d->leave != LEAVE_KILLED,
	                   d->contents, d->ncontents, &d->memory, err);
}

static int stage_hold(struct dump *d, struct crcore_error *err)
{
	return host_run(d->host, STAGE_HOLD, err);
}

static void let_go(struct dump *d, enum leave leave)
{
	questions_leave(&d->questions);
	thaw(d, &d->survey.tree, leave);
	if (!d->frozen_at)
		return;
	d->stood_ns = now_ns() - d->frozen_at;
	trace_end(d->frozen_at, TRACE_TREE, "frozen", "stands still");
	d->frozen_at = 0;
}

static void tell_stops(const struct dump *d)
{
	uint64_t ahead = d->ahead.stood_ns;

	if (d->stood_ns + ahead)
		log_line(2, "the tree stood still for %.3f ms", (double)(d->stood_ns + ahead) / 1e6);
	if (ahead)
		log_line(2, "%.3f ms of that before and after, to watch its memory", (double)ahead / 1e6);
}

static int stage_release(struct dump *d, struct crcore_error *err)
{
	int r = host_run(d->host, STAGE_RELEASE, err);

	if (r == 0 && d->leave == LEAVE_RUNNING) { /* whether it can be sealed or not */
		let_go(d, LEAVE_RUNNING);
		host_wills_tree_runs(d->host);
	}
	return r;
}

static void sealed(void *host)
{
	host_wills_sealed(host);
}

static int stage_seal(struct dump *d, struct crcore_error *err)
{
	struct memory_stats stats = { 0 };
	Crcore__Manifest m;
	int r;

	/* what needs no tree is done when that runs again */
	if ((r = memory_finish(d->memory, &d->survey.segments, &d->survey.nsegments, &stats,
	                       err)) < 0 ||
	    (r = save_records(&d->survey, d->image, err)) < 0)
		return r;
	log_line(2, "pages: %llu stored, %llu ahead, %llu shared, %llu zero",
	         (unsigned long long)stats.stored, (unsigned long long)stats.ahead,
	         (unsigned long long)stats.shared, (unsigned long long)stats.zero);
	r = fill_manifest(&d->survey, d->host, d->cmd, &m, err);
	m.namespaces = d->namespaces.types;
	if (r == 0 && d->leave == LEAVE_KILLED)
		r = ending_begin(&d->survey.tree, d->paused ? &d->pauses : NULL, d->host, &d->ending,
		                 err);
	image_on_seal(d->image, sealed, d->host);
	if (r == 0 && (r = seal_tracked(&d->ahead, d->image, &m, err)) == 0)
		ending_sealed(d->ending);
	clear_manifest(&m);
	return r;
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* The worker ends behind this. What is known of the tree, thousands of small things, goes with it,
 * and so do regions that we have mapped: one by one that takes four times as long. */
static void dump_end(struct dump *d, bool success)
{
	const bool ends = success && d->leave == LEAVE_KILLED;

	if (ends)
		tree_kill(&d->survey.tree); /* meanwhile goes what of us needs no tree */
	else
		let_go(d, success ? d->leave : LEAVE_RUNNING);
	memory_free(d->memory);
	if (ends)
		let_go(d, LEAVE_KILLED);
	ahead_end(&d->ahead, !d->paused && (!success || d->leave == LEAVE_RUNNING));
	tell_stops(d);
	if (d->host)
		host_undo(d->host, success);
	ending_end(d->ending);
	for (unsigned i = 0; i < d->ncontents; i++)
		close(d->contents[i].fd);
	free(d->contents);
	observations_free(d->observations);
	flags_close(d->flags);
	alike_close(&d->alike);
	image_close(d->image);
	host_free(d->host);
}

static int dump_stages(struct dump *d, struct crcore_error *err)
{
	static const struct { const char *name; int (*run)(struct dump *, struct crcore_error *); }
	stages[] = {
		{ "load", stage_load }, { "observe", stage_observe }, { "copy ahead", stage_copy_ahead },
		{ "freeze", stage_freeze }, { "collect", stage_collect }, { "ask", stage_ask },
		{ "hold", stage_hold }, { "save", stage_save }, { "release", stage_release },
		{ "seal", stage_seal },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(stages); i++) {
		uint64_t start = trace_start();
		if ((r = stages[i].run(d, err)) == 0)
			r = worker_check(err);
		trace_end(start, TRACE_HERE, "stage", "%s", stages[i].name);
	}
	return r;
}

static int dump_work(struct worker *w, void *arg, struct crcore_error *err)
{
	struct dump d = { .cmd = arg, .alike = { -1, -1 } };
	int r = dump_stages(&d, err);

	dump_end(&d, r == 0);
	return r;
}

int command_dump(struct command *cmd, struct crcore_error *err)
{
	return worker_run(dump_work, NULL, cmd, "the tree went on by itself", err);
}
