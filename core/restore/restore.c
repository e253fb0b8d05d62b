/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crcore restore: the stages, in the worker, and what main does for it. A
 * failure at any stage takes everything back; so does the end of main.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "core/restore/restore.h"
#include "core/task/task.h"
#include "core/util/trace.h"

/* ---- in the worker ---------------------------------------------------------------------- */

static int plan(struct restore *r, struct crcore_error *err)
{
	int ret;

	if ((ret = own_read(&r->own, err)) < 0 || (ret = restore_load(r, err)) < 0 ||
	    (ret = specials_find(&r->specials, err)) < 0 || (ret = restore_plan(r, err)) < 0 ||
	    (ret = lazy_plan(r, err)) < 0 || (ret = restore_verify(r, err)) < 0)
		return ret;
	if (r->only_plan)
		return 0;
	ret = machine_check(r, err);
	return ret < 0 ? ret : pids_check(r, err);
}

static int create(struct restore *r, struct crcore_error *err)
{
	int ret = r->only_plan ? 0 : lazy_begin(r, err);

	if (ret == 0)
		ret = arena_open(r, err); /* before whoever carries out last wills is forked: run.c */
	if (ret == 0 && !r->only_plan)
		ret = host_run(r->host, STAGE_PREPARE, err);
	if (ret == 0 && !r->only_plan)
		ret = segments_create(r, err);
	if (ret == 0 && !r->only_plan)
		ret = objects_create(r, err);
	return ret == 0 ? programs_build(r, err) : ret;
}

/* One stage, in the timeline too. */
static int stage(struct restore *r, const char *name,
                 int (*run)(struct restore *, struct crcore_error *), struct crcore_error *err)
{
	uint64_t start = trace_start();
	int ret = run(r, err);

	trace_end(start, TRACE_HERE, "stage", "%s", name);
	return ret;
}

static int build(struct restore *r, struct crcore_error *err)
{
	uint64_t start = now_ns();
	int ret = stage(r, "plan", plan, err);

	if (ret < 0 || (ret = worker_check(err)) < 0)
		return ret;
	log_line(2, "planned %u tasks, %llu us", r->rec.ntasks,
	         (unsigned long long)(now_ns() - start) / 1000);
	if ((ret = stage(r, "create", create, err)) < 0)
		return ret;
	log_line(2, "created, %llu us", (unsigned long long)(now_ns() - start) / 1000);
	if (r->only_plan) {
		restore_print(r, stdout);
		return 0;
	}
	if ((ret = stage(r, "run", restore_run, err)) < 0)
		return ret;
	log_line(2, "all tasks are complete, %llu us", (unsigned long long)(now_ns() - start) / 1000);
	if ((ret = stage(r, "settle", restore_settle, err)) < 0 ||
	    (ret = stage(r, "release", restore_release, err)) < 0)
		return ret;
	log_line(2, "restored, %llu us", (unsigned long long)(now_ns() - start) / 1000);
	return (int)r->rec.tasks[0]->pid;
}

/* In memory that main and worker share. */
struct common {
	struct fate fate;
	struct pidfile pidfile;
};

static int work(struct worker *w, struct command *cmd, struct common *common,
                const struct namespaces *join, struct crcore_error *err)
{
	struct restore r = { .cmd = cmd, .worker = w, .only_plan = cmd->plan,
	                     .fate = &common->fate, .pidfile = &common->pidfile, .join = join,
	                     .arena.memfd = -1, .main_pgid = getpgid(w->main) };

	r.shell_job = policy_core(cmd->policy, "dump.shell-job")->b;
	int ret = build(&r, err);
	if (ret < 0)
		restore_kill(&r);
	lazy_end(&r);
	if (r.host) {
		host_undo(r.host, ret >= 0);
		host_heir_end(r.host);
	}
	restore_unload(&r);
	return ret;
}

/* ---- in main ------------------------------------------------------------------------------ */

struct outcome {
	struct command *cmd;
	pid_t first;      /* what main cloned; 0: nothing */
	pid_t *before;    /* children that main had already */
	unsigned nbefore;
	struct common *common;
	struct namespaces join;
};

static int main_work(struct worker *w, void *arg, struct crcore_error *err)
{
	struct outcome *o = arg;

	return work(w, o->cmd, o->common, &o->join, err);
}

static int serve(void *arg, const void *msg, size_t len, const int *fds, int nfds,
                 struct crcore_error *err)
{
	struct outcome *o = arg;
	struct root_request q;

	if (len == sizeof(q))
		memcpy(&q, msg, sizeof(q));
	if (len != sizeof(q) || nfds != 1 + q.npidfds)
		return crcore_fail(err, -EPROTO, "an unknown request of the worker");
	int pid = namespaces_enter(&o->join, true, err); /* the first task inherits them */
	if (pid == 0)
		pid = root_clone(&q, fds[0], fds + 1, err);
	if (pid > 0)
		o->first = pid;
	return pid;
}

static int children(pid_t **ret, unsigned *ret_n)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_close int proc = proc_open(getpid(), &ignored);

	*ret = NULL;
	*ret_n = 0;
	return proc < 0 ? proc : proc_children(proc, getpid(), ret, ret_n, &ignored);
}

/* After a failure: as a subreaper main inherits whatever is left of the tree. The
 * worker has killed it all, unless it was itself killed. */
static void end_children(const struct outcome *o)
{
	for (;;) {
		cleanup_free pid_t *v = NULL;
		unsigned n, ours = 0;
		if (children(&v, &n) < 0)
			return;
		for (unsigned i = 0; i < n; i++) {
			unsigned k;
			for (k = 0; k < o->nbefore && o->before[k] != v[i]; k++)
				;
			if (k < o->nbefore)
				continue;
			ours++;
			if (v[i] != o->common->fate.guard) /* it has work to do, and ends by itself */
				kill(v[i], SIGKILL);
			while (waitpid(v[i], NULL, __WALL) < 0 && errno == EINTR)
				;
		}
		if (!ours)
			return;
	}
}

/* What is meant for whoever is in the foreground is meant for the tree: a key of the terminal
 * for the root's process group, what a process sends us for the root. The terminal has told
 * a tree of our own session itself. */
static void forward(pid_t root, const siginfo_t *info)
{
	const bool key = info->si_code == SI_KERNEL;
	const pid_t group = getpgid(root);

	if (key && getsid(root) == getsid(0))
		return;
	kill(key && group > 0 ? -group : root, info->si_signo);
}

static int wait_for_root(pid_t pid, struct crcore_error *err)
{
	static const int heard[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	siginfo_t info;
	sigset_t set;
	pid_t got;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < ARRAY_SIZE(heard); i++)
		if (!worker_ignores(heard[i])) /* if it is, its being blocked would make it heard */
			sigaddset(&set, heard[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Others that end are gone: a pager. */
	while ((got = waitpid(-1, &status, __WALL | WNOHANG)) != pid)
		if (got < 0 && errno != EINTR)
			return crcore_fail(err, -errno, "cannot wait for task %d: %s", pid, strerror(errno));
		else if (got == 0 && sigwaitinfo(&set, &info) > 0 && info.si_signo != SIGCHLD)
			forward(pid, &info);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The worker has succeeded, failed or been killed: what is left for main to do. */
static int finish(struct outcome *o, int r, bool sibling, struct crcore_error *err)
{
	struct common *c = o->common;

	if (r == -EOWNERDEAD && c->fate.kept) { /* killed when there was nothing more to do */
		*err = (struct crcore_error)CRCORE_ERROR_INIT;
		r = c->fate.kept;
	}
	if (r >= 0)
		image_place_remove(o->cmd->received);
	if (r < 0) {
		if (o->first && sibling && r == -EOWNERDEAD)
			kill(o->first, SIGKILL);
		end_children(o);
		pidfile_remove(&c->pidfile);
	}
	if (r > 0 && o->first != r) /* a helper, and gone by now */
		waitpid(o->first, NULL, __WALL);
	return r;
}

int command_restore(struct command *cmd, struct crcore_error *err)
{
	const bool detached = policy_core(cmd->policy, "restore.detached")->b;
	const bool sibling = policy_core(cmd->policy, "restore.sibling")->b;
	const struct crcore_value *paths = policy_core(cmd->policy, "restore.join-ns");
	struct outcome o = { .cmd = cmd };

	o.common = mmap(NULL, sizeof(*o.common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	                0);
	if (o.common == MAP_FAILED)
		return crcore_fail(err, -errno, "out of memory");
	int r = namespaces_open(&o.join, paths ? paths->list : NULL, err);
	if (r < 0)
		return r;
	if (cmd->plan)
		return worker_run(main_work, NULL, &o, "nothing was made", err);
	if ((r = pidfile_open(&o.common->pidfile, cmd->pidfile, err)) < 0)
		return r;
	signal(SIGCHLD, SIG_DFL); /* an ignored one would reap the root for us */
	children(&o.before, &o.nbefore);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	r = worker_run(main_work, serve, &o, "what there was of the tree is taken back", err);
	r = finish(&o, r, sibling, err);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	free(o.before);
	pidfile_close(&o.common->pidfile);
	if (r < 0)
		return r;
	return detached || sibling ? 0 : wait_for_root(r, err);
}
