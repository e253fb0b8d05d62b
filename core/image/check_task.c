/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of one task record by itself: numbers in range, structs of the
 * kernel's size, and all there that a restore will use without asking.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/user.h>
#include "core/image/records_priv.h"
#include "core/util/status.h"

#define PID_LIMIT (4u << 20)   /* PID_MAX_LIMIT of the kernel */
#define SIGNALS 64u
#define SCHED_ATTR_MIN 48u     /* SCHED_ATTR_SIZE_VER0 */
#define SCHED_ATTR_MAX 256u
#define NODES_LEN 128u         /* bytes: 1024 nodes of memory */
#define AFFINITY_MAX 8192u     /* bytes: 65536 processors */
#define XSTATE_MIN 576u        /* FXSAVE area and header */
#define XSTATE_MAX 65536u
#define GROUPS_LIMIT 65536u    /* NGROUPS_MAX */
#define ROBUST_LEN 24u         /* struct robust_list_head */

static bool size_in(ProtobufCBinaryData b, size_t min, size_t max)
{
	return b.len >= min && b.len <= max;
}

static bool absent_or(ProtobufCBinaryData b, size_t min, size_t max)
{
	return !b.len || size_in(b, min, max);
}

static bool siginfos(const ProtobufCBinaryData *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].len != sizeof(siginfo_t))
			return false;
	return true;
}

static int check_creds(const Crcore__Creds *c, uint32_t tid, struct crcore_error *err)
{
	if (!c)
		return BAD(err, "thread %u has no credentials", tid);
	if (c->n_groups > GROUPS_LIMIT)
		return BAD(err, "thread %u has too many groups", tid);
	return 0;
}

static int check_thread(const Crcore__Thread *t, struct crcore_error *err)
{
	if (!t->tid || t->tid > PID_LIMIT)
		return BAD(err, "%u is no thread number", t->tid);
	if (t->regs.len != sizeof(struct user_regs_struct) ||
	    !absent_or(t->xstate, XSTATE_MIN, XSTATE_MAX))
		return BAD(err, "thread %u has registers of the wrong size", t->tid);
	if (!siginfos(t->pending, t->n_pending) ||
	    !absent_or(t->altstack, sizeof(stack_t), sizeof(stack_t)))
		return BAD(err, "thread %u has signal state of the wrong size", t->tid);
	if ((t->robust_len && t->robust_len != ROBUST_LEN) || t->pdeath_signal > SIGNALS)
		return BAD(err, "thread %u has a number that is out of range", t->tid);
	if (!absent_or(t->sched_attr, SCHED_ATTR_MIN, SCHED_ATTR_MAX) ||
	    t->affinity.len > AFFINITY_MAX || t->affinity.len % 8)
		return BAD(err, "thread %u has scheduling state of the wrong size", t->tid);
	if (!absent_or(t->memory_nodes, NODES_LEN, NODES_LEN))
		return BAD(err, "thread %u has a memory policy of the wrong size", t->tid);
	if (t->resume && t->resume->n_args != 6)
		return BAD(err, "thread %u resumes a call that has not six arguments", t->tid);
	return check_creds(t->creds, t->tid, err);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool has_thread(const Crcore__Task *t, uint32_t tid)
{
	for (size_t i = 0; i < t->n_threads; i++)
		if (t->threads[i]->tid == tid)
			return true;
	return false;
}

static int check_timers(const Crcore__Task *t, struct crcore_error *err)
{
	cleanup_free uint32_t *ids = malloc((t->n_timers + 1) * sizeof(*ids));

	if (!ids)
		return crcore_no_memory(err);
	for (size_t i = 0; i < t->n_timers; i++) {
		const Crcore__PosixTimer *p = t->timers[i];
		if (p->signo > SIGNALS || p->id > INT32_MAX)
			return BAD(err, "a timer has a number that is out of range");
		if (p->notify == SIGEV_THREAD_ID && !has_thread(t, p->tid))
			return BAD(err, "a timer signals thread %u, which is not the task's", p->tid);
		ids[i] = p->id;
	}
	qsort(ids, t->n_timers, sizeof(*ids), by_number);
	for (size_t i = 1; i < t->n_timers; i++)
		if (ids[i] == ids[i - 1])
			return BAD(err, "timer %u is there twice", ids[i]);
	return 0;
}

static int check_zombie(const Crcore__Task *t, struct crcore_error *err)
{
	if (!status_is_end(t->exit_code))
		return BAD(err, "no process ends with status %#x", t->exit_code);
	if (t->mm || t->files || t->fs || t->sighand || t->n_timers || t->n_pending)
		return BAD(err, "a zombie has what only a live task can have");
	if (t->n_threads > 1 || (t->n_threads == 1 && t->threads[0]->tid != t->pid))
		return BAD(err, "a zombie has threads");
	return 0;
}

static int check_alive(const Crcore__Task *t, struct crcore_error *err)
{
	if (t->dead_leader)
		return crcore_fail(err, -ENOTSUP, "the leader of its threads has exited");
	if (!t->mm || !t->files || !t->fs || !t->sighand)
		return BAD(err, "it has no memory, descriptor table, file system state or signal handlers");
	if (!t->n_threads || t->threads[0]->tid != t->pid)
		return BAD(err, "its first thread is not the leader");
	if (t->n_rlimits && t->n_rlimits != RLIM_NLIMITS)
		return BAD(err, "it has %zu resource limits", t->n_rlimits);
	if (t->n_itimers && t->n_itimers != 3)
		return BAD(err, "it has %zu interval timers", t->n_itimers);
	if (!siginfos(t->pending, t->n_pending))
		return BAD(err, "it has a pending signal of the wrong size");
	for (size_t i = 0; i < t->n_threads; i++) {
		int r = check_thread(t->threads[i], err);
		if (r < 0)
			return r;
	}
	return check_timers(t, err);
}

int check_task(const Crcore__Task *t, struct crcore_error *err)
{
	if (!t->pid || t->pid > PID_LIMIT || t->ppid > PID_LIMIT || t->pgid > PID_LIMIT ||
	    t->sid > PID_LIMIT)
		return BAD(err, "a process number is out of range");
	if (t->exit_signal > SIGNALS || t->stop_signal > SIGNALS || t->stop_untold > SIGNALS)
		return BAD(err, "a signal is out of range");
	if (t->oom_score_adj < -1000 || t->oom_score_adj > 1000)
		return BAD(err, "oom_score_adj is out of range");
	switch (t->state) {
	case CRCORE__TASK_STATE__ZOMBIE:
		return check_zombie(t, err);
	case CRCORE__TASK_STATE__RUNNING:
	case CRCORE__TASK_STATE__STOPPED:
		return check_alive(t, err);
	default:
		return BAD(err, "it has no state");
	}
}
