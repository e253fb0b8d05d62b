/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run stage: main clones the first task, and the programs do the rest. The
 * worker only waits, for the end of all programs or for the first failure, and
 * notices tasks that were killed by somebody else.
 */
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"
#include "core/util/progress.h"
#include "core/task/task.h"

#define LOOK_EVERY 100000000 /* ns: for tasks that are gone, and for main */

/* ---- which programs must come to their end ------------------------------------------------- */

/* Those of stopped tasks are stopped anywhere behind their last barrier; those that
 * go on with an interrupted call wait in it; those that are held wait until all are
 * traced. settle.c looks after them. */
static bool comes_to_end(const struct stub *s, unsigned thread)
{
	if (!s->rec || s->r->births.v[s->birth].zombie)
		return true;
	return s->rec->state != CRCORE__TASK_STATE__STOPPED && s->resume_op[thread] == UINT32_MAX &&
	       !s->held[thread];
}

static bool is_done(prog *p)
{
	return __atomic_load_n(&prog_local(p)->state, __ATOMIC_ACQUIRE) == PROGRAM_DONE;
}

static unsigned count(const struct restore *r, bool only_open)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->births.n; i++) {
		const struct stub *s = &r->stubs[i];
		size_t threads = s->threads ? s->rec->n_threads : 1;
		for (unsigned k = 0; k < threads; k++)
			n += comes_to_end(s, k) && !(only_open && is_done(k ? s->threads[k - 1] : s->p));
	}
	return n;
}

/* ---- failures ------------------------------------------------------------------------------ */

/* A task says that it failed just before it says where. */
static void await_failed(prog *p)
{
	struct timespec pause = { 0, 100000 };

	for (int i = 0; i < 1000; i++) {
		if (__atomic_load_n(&prog_local(p)->state, __ATOMIC_ACQUIRE) == PROGRAM_FAILED)
			return;
		nanosleep(&pause, NULL);
	}
}

static prog *program_with(const struct stub *s, uint32_t id)
{
	size_t threads = s->threads ? s->rec->n_threads - 1 : 0;

	if (prog_local(s->p)->id == id)
		return s->p;
	for (size_t k = 0; k < threads; k++)
		if (prog_local(s->threads[k])->id == id)
			return s->threads[k];
	return NULL;
}

static int report_failure(struct restore *r, uint32_t id, struct crcore_error *err)
{
	for (unsigned i = 0; i < r->births.n; i++) {
		prog *p = program_with(&r->stubs[i], id);
		if (!p)
			continue;
		await_failed(p);
		int ret = prog_failure(p, r->births.v[i].pid, err);
		if (err->code == -EEXIST)
			crcore_advise(err, "a process took one of its pids meanwhile; try again");
		return ret;
	}
	return crcore_fail(err, -EIO, "a task failed, and nobody knows which");
}

int run_failure(struct restore *r, struct crcore_error *err)
{
	uint32_t failed = __atomic_load_n(&arena_region(&r->arena)->failed, __ATOMIC_ACQUIRE);

	return failed ? report_failure(r, failed - 1, err) : 0;
}

pid_t born_pid(const struct restore *r, unsigned birth)
{
	if (birth == 0)
		return r->root_pid;
	const struct birth *b = &r->births.v[birth];
	int64_t pid = prog_result(r->stubs[b->creator].p, r->stubs[birth].spawn_op);
	return pid > 0 ? (pid_t)pid : 0;
}

int task_was_killed(pid_t pid, struct crcore_error *err)
{
	crcore_fail_at(err, pid, -1, "task %d", pid);
	crcore_advise(err, "see the kernel log: out of memory?");
	return crcore_fail(err, -ECHILD, "was killed while the tree was built");
}

/* A task that is gone although its program did not let it exit. */
static int look_for_dead(struct restore *r, struct crcore_error *err)
{
	for (unsigned i = 0; i < r->births.n; i++) {
		const struct birth *b = &r->births.v[i];
		struct crcore_error ignored = CRCORE_ERROR_INIT;
		struct proc_stat st;
		pid_t pid = born_pid(r, i);
		if (!pid || is_done(r->stubs[i].p))
			continue;
		cleanup_close int proc = proc_open(pid, &ignored);
		if (proc >= 0 && proc_stat(proc, &st, &ignored) == 0 && st.state != 'Z' && st.state != 'X')
			continue;
		if (is_done(r->stubs[i].p)) /* meanwhile */
			continue;
		return task_was_killed(b->pid, err);
	}
	return 0;
}

/* ---- waiting ------------------------------------------------------------------------------- */

#define GO 1 /* index of the word that says that all leaders are complete */

/* Waits for a change of one of the words, at most LOOK_EVERY. */
static void wait_words(uint32_t *const *word, const uint32_t *seen, unsigned n)
{
	struct futex_waitv v[4];
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_EVERY;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	for (unsigned i = 0; i < n; i++)
		v[i] = (struct futex_waitv){ .val = seen[i], .uaddr = (uintptr_t)word[i],
			                     .flags = 2 /* FUTEX2_SIZE_U32 */ };
	syscall(SYS_futex_waitv, v, n, 0, &until, CLOCK_MONOTONIC);
}

/* Everything that ends the wait but completion. */
int run_check(struct restore *r, uint64_t deadline, uint64_t *look, struct crcore_error *err)
{
	int ret = feeds_failure(r, err);
	uint64_t now = now_ns();

	if (ret == 0)
		ret = run_failure(r, err);
	if (ret == 0)
		ret = worker_check(err);
	if (ret == 0)
		ret = lazy_serve(r, err);
	if (ret == 0 && now >= deadline) {
		crcore_advise(err, "raise restore.timeout");
		ret = crcore_fail(err, -ETIMEDOUT, "the tree was not complete in time");
	}
	if (ret == 0 && now >= *look) {
		*look = now + LOOK_EVERY;
		progress("restore: building the tree", arena_region(&r->arena)->done, r->births.n);
		ret = look_for_dead(r, err);
	}
	return ret;
}

static int wait_for_programs(struct restore *r, struct crcore_error *err)
{
	struct region *region = arena_region(&r->arena);
	uint32_t *const lazy = lazy_word(r);
	uint32_t *const word[4] = { &region->done, arena_local(&r->arena, r->go[BUILT]),
		                    &region->failed, lazy };
	const int most = lazy ? 4 : 3;
	const struct crcore_value *limit = policy_core(r->cmd->policy, "restore.timeout");
	uint64_t deadline = limit && limit->i ? now_ns() + (uint64_t)limit->i : UINT64_MAX;
	uint64_t look = now_ns() + LOOK_EVERY;
	uint32_t seen[4];

	__atomic_store_n(&region->done_want, count(r, false), __ATOMIC_SEQ_CST);
	for (;;) {
		for (int i = 0; i < most; i++)
			seen[i] = __atomic_load_n(word[i], __ATOMIC_SEQ_CST);
		int ret = run_check(r, deadline, &look, err);
		if (ret < 0)
			return ret;
		if (seen[GO] && count(r, true) == 0)
			return 0;
		if (seen[0] >= region->done_want)
			__atomic_store_n(&region->done_want, seen[0] + 1, __ATOMIC_SEQ_CST);
		wait_words(word, seen, seen[GO] ? 1 : (unsigned)most);
	}
}

/* The root's parent is not of the tree and cannot stop it as others do. */
static int stop_root(struct restore *r, struct crcore_error *err)
{
	const struct stub *s = &r->stubs[r->births.of_task[0]];
	pid_t pid = (pid_t)s->rec->pid;

	if (s->rec->state != CRCORE__TASK_STATE__STOPPED)
		return 0;
	uint32_t *word = arena_local(&r->arena, s->stop_word), seen = 0;
	uint64_t look = 0;
	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		int ret = run_check(r, UINT64_MAX, &look, err);
		if (ret < 0)
			return ret;
		wait_words(&word, &seen, 1);
	}
	kill(pid, SIGSTOP);
	return 0;
}

/* ---- tasks that were stopped ---------------------------------------------------------------- */

struct stopped {
	const uint32_t *ready; /* in the region, which whoever carries this out has mapped too */
	pid_t pid;
};

/* Of all stubs only these cannot see that we are gone, and they stop before they are traced. */
static void end_stopped(const void *bytes, size_t len)
{
	struct stopped v;

	for (size_t at = 0; at < len; at += sizeof(v)) {
		memcpy(&v, (const char *)bytes + at, sizeof(v));
		if (__atomic_load_n(v.ready, __ATOMIC_SEQ_CST)) /* it is there, and is ours */
			kill(v.pid, SIGKILL);
	}
}

static int note_stopped(struct restore *r, struct crcore_error *err)
{
	cleanup_free struct stopped *v = calloc(r->births.n, sizeof(*v));
	size_t n = 0;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->births.n; i++)
		if (r->stubs[i].stop_word)
			v[n++] = (struct stopped){ arena_local(&r->arena, r->stubs[i].stop_word),
				                   r->births.v[i].pid };
	return n ? host_will(r->host, WILL_FIRST, end_stopped, v, n * sizeof(*v), err) : 0;
}

int restore_run(struct restore *r, struct crcore_error *err)
{
	struct root_request q = {
		.region = r->arena.remote, .size = r->arena.limit,
		.entry = arena_region(&r->arena)->entry, .program = r->stubs[0].at,
		.coordinator_fd = r->coordinator_fd, .npidfds = 1 + (int)r->nbanks,
		.pid = r->births.v[0].pid,
		.sibling = policy_core(r->cmd->policy, "restore.sibling")->b,
	};
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int fds[2 + BANKS_MAX] = { r->arena.memfd, pidfd };

	for (unsigned i = 0; i < r->nbanks; i++)
		fds[2 + i] = r->banks[i].pidfd;

	if (pidfd < 0)
		return crcore_fail(err, -errno, "cannot open a pidfd: %s", strerror(errno));
	int ret = note_stopped(r, err);
	if (ret < 0)
		return ret;
	r->root_asked = true;
	ret = feeds_begin(r, err);
	if (ret < 0)
		return ret;
	ret = worker_request(r->worker, &q, sizeof(q), fds, 2 + (int)r->nbanks, err);
	if (ret == -EEXIST)
		pids_explain(r, q.pid, err);
	if (ret >= 0) {
		r->root_pid = ret;
		ret = wait_for_programs(r, err);
	}
	feeds_end(r); /* nothing is written to a pid that may be another's by now */
	progress(NULL, 0, 0);
	return ret < 0 ? ret : stop_root(r, err);
}
