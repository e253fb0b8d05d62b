/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settle and release stages. All tasks are complete and wait in the
 * interpreter; every thread is seized and stopped there, the region is unmapped,
 * and registers are set. Until the end of settle the kernel kills them all if
 * the worker dies. Then they are let go.
 *
 * A thread that goes on with an interrupted wait must be stopped inside of that
 * very call: if it is not there yet it is let run a little further.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"
#include "core/util/trace.h"
#include "core/task/arch/x86_64.h"
#include "core/task/stops.h"
#include "core/task/task.h"

#define PATIENCE 10000000000ULL
#define STOP_PATIENCE 1000000000ULL
#define RESTART_BLOCK 516
#define FIRST_PAUSE 20000u     /* ns */
#define WORTH_SLEEPING 100000u
#define LAST_PAUSE 50000000u

static pid_t tid_of(const struct stub *s, unsigned thread)
{
	return (pid_t)s->rec->threads[thread]->tid;
}

static prog *prog_of(const struct stub *s, unsigned thread)
{
	return thread ? s->threads[thread - 1] : s->p;
}

static int lost(const struct stub *s, pid_t tid, int r, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, (pid_t)s->rec->pid, -1, "thread %d", tid);
	return crcore_fail(err, r, "%s: %s", what, r == -ESRCH ? "it was killed meanwhile"
	                                                       : strerror(-r));
}

/* Calls fn for every thread of every live task; ends at the first failure. */
#define each_thread(r, fn, err) call_each(r, fn, #fn, err)
static int call_each(struct restore *r, int (*fn)(struct stub *, unsigned, struct crcore_error *),
                     const char *what, struct crcore_error *err)
{
	for (unsigned i = 0; i < r->births.n; i++) {
		struct stub *s = &r->stubs[i];
		uint64_t start = trace_start();
		for (unsigned k = 0; is_live(s) && k < s->rec->n_threads; k++) {
			int ret = fn(s, k, err);
			if (ret < 0)
				return ret;
		}
		if (is_live(s))
			trace_end(start, (pid_t)s->rec->pid, "task", "%s", what);
	}
	return 0;
}

/* ---- stopping ------------------------------------------------------------------------------- */

static int seize(struct stub *s, unsigned thread, struct crcore_error *err)
{
	pid_t tid = tid_of(s, thread);

	/* Should it get a filter of system calls, none is in force until it is let go. */
	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP) < 0 &&
	    (s->held[thread] || ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_EXITKILL) < 0))
		return lost(s, tid, -errno, "cannot seize it", err);
	return 0;
}

/* Only now may threads go on with interrupted waits: in there they do not notice
 * the death of the worker, but the kernel kills them with it. */
static void let_resume(struct restore *r)
{
	uint32_t *word = arena_local(&r->arena, r->resume_word);

	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* A thread that was to be stopped, as its task was, does the rest all the same. */
static int keep_going(struct stub *s, unsigned thread, struct crcore_error *err)
{
	pid_t tid = tid_of(s, thread);
	int status, r = s->held[thread] ? stop_next(tid, 0, &status) : 0;

	if (r < 0 || (r && !WIFSTOPPED(status)))
		return lost(s, tid, -ESRCH, "cannot be led to its end", err);
	if (r && ptrace(PTRACE_CONT, tid, NULL, (long)stop_signal(status)) < 0)
		return lost(s, tid, -errno, "cannot be led to its end", err);
	return 0;
}

/* Waits until the threads that were held back have done what they must do last. */
static int await_held(struct restore *r, struct crcore_error *err)
{
	uint32_t *word = arena_local(&r->arena, r->held_word), seen;
	uint64_t deadline = now_ns() + PATIENCE, look = now_ns() + PATIENCE;
	struct timespec slice = { 0, 1000000 };

	while ((seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < r->nheld) {
		int ret = run_check(r, deadline, &look, err);
		if (ret < 0 || (ret = each_thread(r, keep_going, err)) < 0)
			return ret;
		syscall(SYS_futex, word, FUTEX_WAIT, seen, &slice, NULL, 0);
	}
	return 0;
}

static int interrupt(struct stub *s, unsigned thread, struct crcore_error *err)
{
	pid_t tid = tid_of(s, thread);
	int r = stop_ask(tid);

	return r < 0 ? lost(s, tid, r, "cannot be stopped", err) : 0;
}

/* Is it where its program ends? */
static bool is_in_place(const struct stub *s, unsigned thread)
{
	const prog *p = prog_of(s, thread);
	const uint32_t op = s->resume_op[thread];
	arch_regs regs;

	if (__atomic_load_n(&prog_local(p)->state, __ATOMIC_ACQUIRE) == PROGRAM_DONE)
		return true;
	if (op == UINT32_MAX || ptrace(PTRACE_GETREGS, tid_of(s, thread), NULL, &regs) < 0)
		return false;
	/* A stop by a signal has made the kernel continue it once already. */
	return arch_result(&regs) == -RESTART_BLOCK &&
	       (arch_syscall(&regs) == (int64_t)s->rec->threads[thread]->resume->nr ||
	        arch_syscall(&regs) == SYS_restart_syscall);
}

/* Where a thread is that does not come to its end. */
static int stuck(const struct stub *s, unsigned thread, struct crcore_error *err)
{
	pid_t tid = tid_of(s, thread);
	arch_regs regs = { 0 };
	uint32_t op = 0;

	ptrace(PTRACE_GETREGS, tid, NULL, &regs);
	while (op + 1 < prog_nops(prog_of(s, thread)) &&
	       prog_result(prog_of(s, thread), op) != -ENODATA)
		op++;
	crcore_fail_at(err, (pid_t)s->rec->pid, -1, "thread %d", tid);
	return crcore_fail(err, -ETIMEDOUT, "did not come to the end of its program: it is at \"%s\", "
	                   "system call %lld, result %lld", prog_label(prog_of(s, thread), op),
	                   (long long)arch_syscall(&regs), (long long)arch_result(&regs));
}

/* A thread gets into its wait within microseconds; to sleep and be woken takes longer. But on a
 * busy machine it may not have run yet, and be waiting for our processor. */
static void pause_for(uint64_t ns)
{
	const struct timespec ts = { 0, (long)ns };
	const uint64_t end = now_ns() + ns;

	if (ns >= WORTH_SLEEPING)
		nanosleep(&ts, NULL);
	while (now_ns() < end)
		;
}

/* Lets a stopped thread run for a while. A stop that was asked for while it was
 * stopped already comes at once; another request would only be one too many. */
static int run_on(pid_t tid, uint64_t *pause, uint64_t deadline)
{
	int status, ignored;

	if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0)
		return -errno;
	pause_for(*pause);
	if (*pause < LAST_PAUSE)
		*pause *= 2;
	int r = stop_next(tid, 0, &status);
	if (r < 0 || (r && !WIFSTOPPED(status)))
		return -ESRCH;
	if (r && stop_is_event(status))
		return 0;
	if (stop_ask(tid) < 0 || (r && ptrace(PTRACE_CONT, tid, NULL, stop_signal(status)) < 0))
		return -errno;
	return stop_rest(tid, deadline, &ignored);
}

static int stop(struct stub *s, unsigned thread, struct crcore_error *err)
{
	uint64_t deadline = now_ns() + PATIENCE;
	uint64_t pause = FIRST_PAUSE;
	pid_t tid = tid_of(s, thread);
	int ignored, r = stop_rest(tid, deadline, &ignored);

	while (r == 0 && !is_in_place(s, thread)) {
		if (now_ns() > deadline)
			return stuck(s, thread, err);
		int failed = run_failure(s->r, err);
		if (failed < 0)
			return failed;
		r = run_on(tid, &pause, deadline);
	}
	return r < 0 ? lost(s, tid, r, "cannot be stopped", err) : 0;
}

/* ---- registers ----------------------------------------------------------- */

/* What the record says of an interrupted wait, and what became of it. */
static void resume_regs(const struct stub *s, unsigned thread, arch_regs *regs)
{
	const Crcore__Thread *t = s->rec->threads[thread];
	const uint32_t op = s->resume_op[thread];
	int64_t result;

	if (!t->resume || arch_syscall(regs) < 0)
		return;
	if (op == UINT32_MAX) { /* no end in sight: the same call again */
		arch_reissue(regs);
		return;
	}
	result = prog_result(prog_of(s, thread), op);
	if (result == -ENODATA) /* still in it: the kernel continues it */
		return;
	arch_clear_syscall(regs); /* it came to its end on the way */
	arch_set_result(regs, result);
}

static int load_state(struct stub *s, unsigned thread, struct crcore_error *err)
{
	Crcore__Thread rec = *s->rec->threads[thread];
	arch_regs regs;

	if (rec.regs.len != sizeof(regs))
		return crcore_fail(err, -EBADMSG, "thread %u has no registers in the image", rec.tid);
	memcpy(&regs, rec.regs.data, sizeof(regs));
	resume_regs(s, thread, &regs);
	rec.regs.data = (uint8_t *)&regs;
	int r = thread_load_state((pid_t)rec.tid, &rec, err);
	if (r < 0)
		crcore_fail_at(err, (pid_t)s->rec->pid, -1, "thread %u", rec.tid);
	return r;
}

/* ---- from outside -------------------------------------------------------- */

static int set_number(struct stub *s, const char *name, int value, struct crcore_error *err)
{
	char path[64], text[16], what[64];

	snprintf(path, sizeof(path), "/proc/%u/%s", s->rec->pid, name);
	snprintf(what, sizeof(what), "cannot set %s", name);
	const int len = snprintf(text, sizeof(text), "%d", value);
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, (size_t)len) != len ?
	       lost(s, (pid_t)s->rec->pid, -errno, what, err) : 0;
}

static int set_numbers(struct stub *s, unsigned thread, struct crcore_error *err)
{
	const struct own *own = s->r->own;
	const uint32_t filter = s->mm ? s->mm->coredump_filter : 0;
	int r = 0;

	if (!thread && s->rec->oom_score_adj != own->oom_score_adj)
		r = set_number(s, "oom_score_adj", s->rec->oom_score_adj, err);
	if (r == 0 && !thread && filter && filter - 1 != own->coredump_filter)
		r = set_number(s, "coredump_filter", (int)(filter - 1), err);
	return r;
}

/* ---- the stages ---------------------------------------------------------- */

int restore_settle(struct restore *r, struct crcore_error *err)
{
	int ret;

	if ((ret = each_thread(r, seize, err)) < 0)
		return ret;
	let_resume(r);
	if ((ret = await_held(r, err)) < 0 || (ret = each_thread(r, interrupt, err)) < 0 ||
	    (ret = each_thread(r, stop, err)) < 0 || (ret = restore_leave_region(r, err)) < 0 ||
	    (ret = each_thread(r, load_state, err)) < 0 ||
	    (ret = each_thread(r, set_numbers, err)) < 0 ||
	    (ret = host_run(r->host, STAGE_SETTLE, err)) < 0)
		return ret;
	return worker_check(err);
}

static int detach(struct stub *s, unsigned thread, struct crcore_error *err)
{
	ptrace(PTRACE_DETACH, tid_of(s, thread), NULL, NULL);
	return 0;
}

static int unkill(struct stub *s, unsigned thread, struct crcore_error *err)
{
	ptrace(PTRACE_SETOPTIONS, tid_of(s, thread), NULL, 0);
	return 0;
}

static int stay_stopped(struct stub *s, unsigned thread, struct crcore_error *err)
{
	if (!thread && s->rec->state != CRCORE__TASK_STATE__STOPPED)
		kill((pid_t)s->rec->pid, SIGSTOP);
	return 0;
}

/* A task stops when it next runs: whoever waits for us is to find it stopped. */
static int await_stop(struct stub *s, unsigned thread, struct crcore_error *err)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct timespec pause = { 0, 50000 };
	uint64_t deadline = now_ns() + STOP_PATIENCE;
	struct proc_stat st;
	cleanup_close int proc = thread ? -1 : proc_open((pid_t)s->rec->pid, &ignored);

	while (proc >= 0 && now_ns() < deadline && proc_stat(proc, &st, &ignored) == 0 &&
	       !strchr("TZX", st.state))
		nanosleep(&pause, NULL);
	return 0;
}

static int await_stopped(struct stub *s, unsigned thread, struct crcore_error *err)
{
	return s->rec->state == CRCORE__TASK_STATE__STOPPED ? await_stop(s, thread, err) : 0;
}

/* What fails here still takes everything back; from host_wills_void() on it is done. */
int restore_release(struct restore *r, struct crcore_error *err)
{
	struct crcore_error late = CRCORE_ERROR_INIT;
	int ret = pidfile_write(r, err);

	if (ret == 0)
		ret = host_run(r->host, STAGE_RELEASE, err);
	r->paused = ret != 0;
	if (ret >= 0) {
		objects_close(r); /* or the tree would not see its own ends close */
		if ((ret = lazy_keep(r, err)) == 0)
			ret = pact_begin(r, err);
	}
	if (ret < 0)
		return ret;
	const bool stopped = policy_core(r->cmd->policy, "restore.stopped")->b;
	if (stopped)
		each_thread(r, stay_stopped, err);
	each_thread(r, unkill, err);
	/* It lives on, and keeps what was made for it. */
	host_wills_void(r->host, (pid_t)r->rec.tasks[0]->pid);
	if (host_run(r->host, STAGE_DONE, &late) < 0)
		log_error(1, &late);
	host_undo(r->host, true);
	each_thread(r, detach, err);
	if (r->paused) /* those stop when they run again */
		return 0;
	each_thread(r, stopped ? await_stop : await_stopped, err);
	return 0;
}
