/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a task can tell about itself, as operations of its task program:
 * per thread, and per process through its leader. task_ask() writes the
 * programs, task_answers() takes the answers into the records.
 *
 * Both walk the same list in the same order: the reference or operation of
 * each question is kept in struct asked between the two.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/inject.h"
#include "core/task/task.h"
#include "core/task/witness.h"
#include "core/util/util.h"

#define MEMBARRIER_GET_REGISTRATIONS (1 << 9)
#define NSIGNALS 64
#define NLIMITS 16
#define NITIMERS 3

struct kernel_sigaction { /* as rt_sigaction(2) has it without libc */
	uint64_t handler, flags, restorer, mask;
};

struct asked {          /* of a thread */
	uint32_t altstack, tid_address, pdeath, robust, robust_len; /* data references */
	uint32_t policy, nodes, tsc;
	uint32_t securebits, personality, slack, thp, has_policy, confined; /* operations */
	struct asked_process *process;                              /* of the leader */
};

struct asked_process {
	uint32_t limits, itimers, actions, timers, subreaper; /* data references */
	uint32_t untold;       /* of a stopped task: reference in its parent's program */
	uint32_t dumpable, brk, overruns, membarrier, merge, mdwe, locks, segments; /* operations */
};

/* ---- questions ------------------------------------------------------------------ */

static void ask_thread(prog *p, struct asked *a)
{
	a->altstack = prog_data(p, NULL, sizeof(stack_t));
	a->tid_address = prog_data(p, NULL, 8);
	a->pdeath = prog_data(p, NULL, 8);
	a->robust = prog_data(p, NULL, 8);
	a->robust_len = prog_data(p, NULL, 8);
	CALL(p, "ask altstack", SYS_sigaltstack, EXPECT_OK, 0, IMM(0), DATA(a->altstack));
	CALL(p, "ask tid address", SYS_prctl, EXPECT_OK, 0, IMM(PR_GET_TID_ADDRESS),
	     DATA(a->tid_address));
	CALL(p, "ask parent death signal", SYS_prctl, EXPECT_OK, 0, IMM(PR_GET_PDEATHSIG),
	     DATA(a->pdeath));
	CALL(p, "ask robust list", SYS_get_robust_list, EXPECT_OK, 0, IMM(0), DATA(a->robust),
	     DATA(a->robust_len));
	a->securebits = CALL(p, "ask securebits", SYS_prctl, EXPECT_OK, 0, IMM(PR_GET_SECUREBITS));
	a->personality = CALL(p, "ask personality", SYS_personality, EXPECT_OK, 0, IMM(0xffffffff));
	a->slack = CALL(p, "ask timer slack", SYS_prctl, EXPECT_ANY, 0, IMM(PR_GET_TIMERSLACK));
	a->thp = CALL(p, "ask huge page setting", SYS_prctl, EXPECT_ANY, 0, IMM(PR_GET_THP_DISABLE));
	a->tsc = prog_data(p, NULL, 8);
	CALL(p, "ask for the time stamp counter", SYS_prctl, EXPECT_ANY, 0, IMM(PR_GET_TSC),
	     DATA(a->tsc));
	a->policy = prog_data(p, NULL, 8);
	a->nodes = prog_data(p, NULL, NODES / 8);
	a->has_policy = CALL(p, "ask memory policy", SYS_get_mempolicy, EXPECT_ANY, 0,
	                     DATA(a->policy), DATA(a->nodes), IMM(NODES), IMM(0), IMM(0));
}

/* What any thread may ask of a process that it can look at. */
static void ask_confined(prog *p, struct asked *a, pid_t witness)
{
	const uint32_t seen = prog_data(p, NULL, 16);

	a->confined = UINT32_MAX;
	if (witness)
		a->confined = CALL(p, "ask whether it is confined", SYS_get_robust_list, EXPECT_ANY, 0,
		                   IMM(witness), DATA(seen), DATA_AT(seen, 8));
}

static void ask_timers(prog *p, const Crcore__Task *rec, struct asked_process *a)
{
	a->timers = prog_data(p, NULL, (rec->n_timers + 1) * sizeof(struct itimerspec));
	a->overruns = UINT32_MAX;
	for (size_t i = 0; i < rec->n_timers; i++) {
		CALL(p, "ask timer", SYS_timer_gettime, EXPECT_OK, 0, IMM(rec->timers[i]->id),
		     DATA_AT(a->timers, i * sizeof(struct itimerspec)));
		uint32_t op = CALL(p, "ask timer overrun", SYS_timer_getoverrun, EXPECT_ANY, 0,
		                   IMM(rec->timers[i]->id));
		if (i == 0)
			a->overruns = op;
	}
}

static void ask_process(prog *p, const Crcore__Task *rec, struct asked_process *a)
{
	a->limits = prog_data(p, NULL, NLIMITS * sizeof(struct rlimit));
	a->itimers = prog_data(p, NULL, NITIMERS * sizeof(struct itimerval));
	a->actions = prog_data(p, NULL, NSIGNALS * sizeof(struct kernel_sigaction));
	a->subreaper = prog_data(p, NULL, 8);
	for (unsigned i = 0; i < NLIMITS; i++)
		CALL(p, "ask limit", SYS_prlimit64, EXPECT_OK, 0, IMM(0), IMM(i), IMM(0),
		     DATA_AT(a->limits, i * sizeof(struct rlimit)));
	for (unsigned i = 0; i < NITIMERS; i++)
		CALL(p, "ask interval timer", SYS_getitimer, EXPECT_OK, 0, IMM(i),
		     DATA_AT(a->itimers, i * sizeof(struct itimerval)));
	for (unsigned i = 0; i < NSIGNALS; i++)
		CALL(p, "ask signal action", SYS_rt_sigaction, EXPECT_OK, 0, IMM(i + 1), IMM(0),
		     DATA_AT(a->actions, i * sizeof(struct kernel_sigaction)), IMM(8));
	CALL(p, "ask subreaper", SYS_prctl, EXPECT_OK, 0, IMM(PR_GET_CHILD_SUBREAPER),
	     DATA(a->subreaper));
	a->dumpable = CALL(p, "ask dumpable", SYS_prctl, EXPECT_OK, 0, IMM(PR_GET_DUMPABLE));
	a->brk = CALL(p, "ask brk", SYS_brk, EXPECT_OK, 0, IMM(0));
	a->membarrier = CALL(p, "ask membarrier registrations", SYS_membarrier, EXPECT_ANY, 0,
	                     IMM(MEMBARRIER_GET_REGISTRATIONS), IMM(0), IMM(0));
	a->merge = CALL(p, "ask merge setting", SYS_prctl, EXPECT_ANY, 0, IMM(PR_GET_MEMORY_MERGE));
	a->mdwe = CALL(p, "ask about writable code", SYS_prctl, EXPECT_ANY, 0, IMM(PR_GET_MDWE));
	/* EBUSY: what it maps is locked. It has mapped the region last. */
	const uint32_t region = prog_region(p, "ask for the region");
	a->locks = CALL(p, "ask about future locks", SYS_msync, EXPECT_ANY, 0, RESULT(region),
	                IMM(PAGE), IMM(MS_INVALIDATE));
	a->segments = CALL(p, "ask for segments of its own", ARCH_SEGMENTS_CALL, EXPECT_ANY, 0, IMM(0),
	                   DATA(prog_data(p, NULL, 8)), IMM(8));
	ask_timers(p, rec, a);
}

/* Whether a stop has been waited for only the parent can tell: it asks, and leaves it. */
static void ask_parent(const struct task *t, struct asked_process *a)
{
	prog *p = t->parent && t->parent->nthreads ? t->parent->threads[0].ask : NULL;

	a->untold = UINT32_MAX;
	if (!p || t->abi.state != CRCORE_TASK_STOPPED)
		return;
	a->untold = prog_data(p, NULL, sizeof(siginfo_t));
	CALL(p, "ask whether a stop was told", SYS_waitid, EXPECT_ANY, 0, IMM(P_PID), IMM(t->abi.pid),
	     DATA(a->untold), IMM(WSTOPPED | WNOHANG | WNOWAIT | __WALL), IMM(0));
}

int task_ask(struct task *t, struct witnesses *w, struct crcore_error *err)
{
	for (unsigned i = 0; i < t->nthreads; i++) {
		struct thread *thread = &t->threads[i];
		thread->ask = prog_new();
		thread->asked = calloc(1, sizeof(*thread->asked));
		if (!thread->ask || !thread->asked)
			return crcore_no_memory(err);
		ask_thread(thread->ask, thread->asked);
		ask_confined(thread->ask, thread->asked, witness_for(w, thread->rec->creds));
		if (i > 0)
			continue;
		thread->asked->process = calloc(1, sizeof(struct asked_process));
		if (!thread->asked->process)
			return crcore_no_memory(err);
		ask_process(thread->ask, t->rec, thread->asked->process);
		if (t->mm->task == t)
			policies_ask(t->mm, thread->ask);
		ask_parent(t, thread->asked->process);
	}
	return 0;
}

void asked_free(struct asked *a)
{
	if (a)
		free(a->process);
	free(a);
}

/* ---- answers -------------------------------------------------------------------- */

static uint64_t answer_u64(const prog *p, uint32_t ref)
{
	const uint64_t *v = prog_answer(p, ref);

	return v ? *v : 0;
}

/* A kernel for one node has none. */
static int answer_policy(Crcore__Thread *rec, const prog *p, const struct asked *a,
                         struct crcore_error *err)
{
	rec->memory_policy = (uint32_t)answer_u64(p, a->policy);
	if (prog_result(p, a->has_policy) < 0 || !rec->memory_policy)
		return 0;
	rec->memory_nodes.data = malloc(NODES / 8);
	if (!rec->memory_nodes.data)
		return crcore_no_memory(err);
	memcpy(rec->memory_nodes.data, prog_answer(p, a->nodes), rec->memory_nodes.len = NODES / 8);
	return 0;
}

static int answer_thread(struct thread *t, struct crcore_error *err)
{
	const prog *p = t->ask;
	const struct asked *a = t->asked;
	Crcore__Thread *rec = t->rec;

	rec->altstack.data = malloc(sizeof(stack_t));
	if (!rec->altstack.data)
		return crcore_no_memory(err);
	rec->altstack.len = sizeof(stack_t);
	memcpy(rec->altstack.data, prog_answer(p, a->altstack), sizeof(stack_t));
	rec->tid_address = answer_u64(p, a->tid_address);
	rec->pdeath_signal = (uint32_t)answer_u64(p, a->pdeath);
	rec->robust_list = answer_u64(p, a->robust);
	rec->robust_len = answer_u64(p, a->robust_len);
	rec->creds->securebits = (uint32_t)prog_result(p, a->securebits);
	rec->personality = (uint32_t)prog_result(p, a->personality);
	rec->timer_slack = (uint64_t)prog_result(p, a->slack);
	const int64_t thp = prog_result(p, a->thp);
	rec->thp_disable = thp > 0 ? (uint32_t)thp : 0;
	rec->no_tsc = answer_u64(p, a->tsc) == PR_TSC_SIGSEGV;
	return answer_policy(rec, p, a, err);
}

static int answer_limits(Crcore__Task *rec, const struct rlimit *v, struct crcore_error *err)
{
	rec->rlimits = calloc(NLIMITS, sizeof(*rec->rlimits));
	if (!rec->rlimits)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < NLIMITS; i++) {
		Crcore__Rlimit *l = malloc(sizeof(*l));
		if (!l)
			return crcore_no_memory(err);
		crcore__rlimit__init(l);
		l->soft = v[i].rlim_cur;
		l->hard = v[i].rlim_max;
		rec->rlimits[rec->n_rlimits++] = l;
	}
	return 0;
}

static uint64_t microseconds(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * 1000000u + (uint64_t)tv.tv_usec;
}

static int answer_itimers(Crcore__Task *rec, const struct itimerval *v, struct crcore_error *err)
{
	rec->itimers = calloc(NITIMERS, sizeof(*rec->itimers));
	if (!rec->itimers)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < NITIMERS; i++) {
		Crcore__Itimer *it = malloc(sizeof(*it));
		if (!it)
			return crcore_no_memory(err);
		crcore__itimer__init(it);
		it->value_us = microseconds(v[i].it_value);
		it->interval_us = microseconds(v[i].it_interval);
		rec->itimers[rec->n_itimers++] = it;
	}
	return 0;
}

static uint64_t nanoseconds(struct timespec ts)
{
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void answer_timers(Crcore__Task *rec, const prog *p, const struct asked_process *a)
{
	const struct itimerspec *v = prog_answer(p, a->timers);

	for (size_t i = 0; i < rec->n_timers; i++) {
		int64_t overrun = prog_result(p, a->overruns + 2 * (uint32_t)i);
		rec->timers[i]->value_ns = nanoseconds(v[i].it_value);
		rec->timers[i]->interval_ns = nanoseconds(v[i].it_interval);
		rec->timers[i]->overrun = overrun > 0 ? (uint32_t)overrun : 0;
	}
}

static int answer_actions(Crcore__Sighand *rec, const struct kernel_sigaction *v,
                          struct crcore_error *err)
{
	if (rec->n_actions)
		return 0; /* shared with a task that has answered */
	rec->actions = calloc(NSIGNALS, sizeof(*rec->actions));
	if (!rec->actions)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < NSIGNALS; i++) {
		ProtobufCBinaryData *d = &rec->actions[rec->n_actions++];
		d->data = malloc(sizeof(v[i]));
		if (!d->data)
			return crcore_no_memory(err);
		memcpy(d->data, &v[i], d->len = sizeof(v[i]));
	}
	return 0;
}

static void answer_parent(struct task *t, const struct asked_process *a)
{
	const siginfo_t *si = NULL;

	if (a->untold != UINT32_MAX)
		si = prog_answer(t->parent->threads[0].ask, a->untold);
	if (si && si->si_pid == t->abi.pid)
		t->rec->stop_untold = (uint32_t)si->si_status;
}

static int refuse_segments(const struct task *t, struct crcore_error *err)
{
	crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	crcore_advise(err, "dump it when what has set them up has ended");
	return crcore_fail(err, -ENOTSUP, "has segments of its own (modify_ldt(2)), which are not "
	                   "saved yet");
}

static void answer_mm(struct mm *mm, const prog *p, const struct asked_process *a)
{
	const int64_t registered = prog_result(p, a->membarrier); /* a kernel may not tell */
	const int64_t mdwe = prog_result(p, a->mdwe);
	Crcore__Mm *rec = mm->rec;

	rec->dumpable = (uint32_t)prog_result(p, a->dumpable);
	rec->brk = (uint64_t)prog_result(p, a->brk);
	rec->membarrier = registered > 0 ? (uint32_t)registered : 0;
	rec->memory_merge = prog_result(p, a->merge) == 1;
	rec->thp_disable = mm->task->threads[0].rec->thp_disable;
	rec->mdwe = mdwe > 0 ? (uint32_t)mdwe : 0;
	if (prog_result(p, a->locks) == -EBUSY)
		rec->mlock_future = MCL_FUTURE | (inject_populated(mm->inject) ? 0 : MCL_ONFAULT);
}

int task_answers(struct task *t, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < t->nthreads; i++) {
		const struct thread *x = &t->threads[i];
		if (x->asked->confined != UINT32_MAX && prog_result(x->ask, x->asked->confined) == -EPERM)
			r = witness_refuse(x, err);
		r = r < 0 ? r : answer_thread(&t->threads[i], err);
	}
	if (r < 0 || !t->nthreads)
		return r;
	const prog *p = t->threads[0].ask;
	const struct asked_process *a = t->threads[0].asked->process;
	if (prog_result(p, a->segments) > 0)
		return refuse_segments(t, err);
	t->rec->subreaper = (uint32_t)answer_u64(p, a->subreaper) != 0;
	if (t->mm->task == t) {
		answer_mm(t->mm, p, a);
		r = policies_answers(t->mm, p, err);
	}
	answer_timers(t->rec, p, a);
	answer_parent(t, a);
	if (r < 0 || (r = answer_limits(t->rec, prog_answer(p, a->limits), err)) < 0 ||
	    (r = answer_itimers(t->rec, prog_answer(p, a->itimers), err)) < 0)
		return r;
	return answer_actions(t->sighand, prog_answer(p, a->actions), err);
}
