/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads: the leader clones them once the memory is in place; each then sets
 * its own attributes by its own program. What is as crcore has it needs no
 * operation (own.c).
 */
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

#define IOPRIO_WHO_PROCESS 1

void threads_spawn(struct stub *s)
{
	const Crcore__Task *rec = s->rec;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
		.set_tid_size = 1,
	};

	for (size_t i = 1; i < rec->n_threads; i++) {
		pid_t tid = (pid_t)rec->threads[i]->tid;
		args.set_tid = arena_put(&s->r->arena, &tid, sizeof(tid));
		OP(s->p, "clone thread", OP_SPAWN, EXPECT_EQUAL, tid,
		   DATA(prog_data(s->p, &args, sizeof(args))), IMM(sizeof(args)),
		   IMM(s->threads_at[i - 1]));
	}
}

/* struct sched_attr of sched_setattr(2) */
struct sched { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t rest[9]; };
_Static_assert(sizeof(struct sched) == 56, "sched_setattr(2)");

static void set_sched(prog *p, const struct own *own, const Crcore__Thread *t)
{
	struct sched attr = { 0 };

	if (t->sched_attr.len) {
		memcpy(&attr, t->sched_attr.data,
		       t->sched_attr.len < sizeof(attr) ? t->sched_attr.len : sizeof(attr));
		attr.size = sizeof(attr);
		if (memcmp((char *)&attr + 4, own->sched + 4, sizeof(attr) - 4) &&
		    attr.policy != SCHED_NORMAL && attr.policy != SCHED_BATCH)
			CALL(p, "set nice", SYS_setpriority, EXPECT_EQUAL, 0, IMM(PRIO_PROCESS), IMM(0),
			     IMM(attr.nice)); /* which sched_setattr() does for these two only */
		if (memcmp((char *)&attr + 4, own->sched + 4, sizeof(attr) - 4))
			CALL(p, "set scheduling", SYS_sched_setattr, EXPECT_EQUAL, 0, IMM(0),
			     DATA(prog_data(p, &attr, sizeof(attr))), IMM(0));
	}
	if (t->affinity.len && (t->affinity.len != own->affinity_len ||
	                        memcmp(t->affinity.data, own->affinity, t->affinity.len))) {
		uint32_t ref = prog_data(p, t->affinity.data, t->affinity.len);
		CALL(p, "set affinity", SYS_sched_setaffinity, EXPECT_OK, 0, IMM(0),
		     IMM(t->affinity.len), DATA(ref));
	}
	if (t->ioprio != own->ioprio)
		CALL(p, "set io priority", SYS_ioprio_set, EXPECT_EQUAL, 0, IMM(IOPRIO_WHO_PROCESS),
		     IMM(0), IMM(t->ioprio));
}

static void set_memory_policy(prog *p, const struct own *own, const Crcore__Thread *t)
{
	if (t->memory_nodes.len) /* the kernel leaves the last of the bits out */
		CALL(p, "set memory policy", SYS_set_mempolicy, EXPECT_EQUAL, 0, IMM(t->memory_policy),
		     DATA(prog_data(p, t->memory_nodes.data, t->memory_nodes.len)),
		     IMM(t->memory_nodes.len * 8 + 1));
	else if (own->memory_policy)
		CALL(p, "set memory policy", SYS_set_mempolicy, EXPECT_EQUAL, 0, IMM(MPOL_DEFAULT),
		     IMM(0), IMM(0));
}

static void set_lists(prog *p, const Crcore__Thread *t)
{
	if (t->robust_list)
		CALL(p, "set robust list", SYS_set_robust_list, EXPECT_EQUAL, 0, IMM(t->robust_list),
		     IMM(t->robust_len));
	if (t->rseq)
		CALL(p, "register rseq", SYS_rseq, EXPECT_EQUAL, 0, IMM(t->rseq), IMM(t->rseq_len),
		     IMM(t->rseq_flags), IMM(t->rseq_sig));
	if (t->tid_address)
		CALL(p, "set tid address", SYS_set_tid_address, EXPECT_OK, 0, IMM(t->tid_address));
	if (t->altstack.len == sizeof(stack_t)) {
		stack_t ss;
		memcpy(&ss, t->altstack.data, sizeof(ss));
		ss.ss_flags &= ~SS_ONSTACK; /* that it was in use, its stack pointer will say */
		if (!(ss.ss_flags & SS_DISABLE)) {
			uint32_t ref = prog_data(p, &ss, sizeof(ss));
			CALL(p, "set signal stack", SYS_sigaltstack, EXPECT_EQUAL, 0, DATA(ref), IMM(0));
		}
	}
}

/* Everything that does not depend on what other tasks do, but for credentials. */
void thread_attributes(prog *p, const struct own *own, const Crcore__Thread *t)
{
	char comm[16] = "";

	snprintf(comm, sizeof(comm), "%s", t->comm);
	CALL(p, "set name", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_NAME),
	     DATA(prog_data(p, comm, sizeof(comm))));
	set_lists(p, t);
	set_sched(p, own, t);
	set_memory_policy(p, own, t);
	if (t->timer_slack && t->timer_slack != own->slack)
		CALL(p, "set timer slack", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_TIMERSLACK),
		     IMM(t->timer_slack));
	if (t->personality != own->personality)
		CALL(p, "set personality", SYS_personality, EXPECT_OK, 0, IMM(t->personality));
	if (t->no_tsc)
		CALL(p, "forbid the time stamp counter", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_TSC),
		     IMM(PR_TSC_SIGSEGV));
}

/* The end of its privileges, and what would not outlive it. */
void thread_creds(prog *p, const struct own *own, const Crcore__Thread *t)
{
	if (t->creds)
		creds_build(p, own, t->creds);
	if (t->pdeath_signal)
		CALL(p, "set parent death signal", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_PDEATHSIG),
		     IMM(t->pdeath_signal));
}

/* The program of a thread that is not the leader. */
int thread_build(struct stub *s, unsigned thread, struct crcore_error *err)
{
	prog *p = s->threads[thread - 1];
	int r;

	thread_attributes(p, s->r->own, s->rec->threads[thread]);
	pending_build(s, p, thread);
	if ((r = held_build(s, p, thread, err)) < 0)
		return r;
	thread_creds(p, s->r->own, s->rec->threads[thread]);
	OP(p, "report to leader", OP_POST, EXPECT_ANY, 0, IMM(s->threads_word), IMM(1));
	held_end(s, p, thread);
	thread_resume(s, p, thread);
	return arena_place(&s->r->arena, p, &s->threads_at[thread - 1], err);
}
