/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signal actions and pending signals of a process. In between lies what its
 * children did to it while the tree was built: those that exited or stopped
 * told it so, and it must not learn that again. A pending signal goes when its
 * action is to ignore it; so first that, then the actions it had, then the
 * signals that were pending.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"

struct kernel_action { uint64_t handler, flags, restorer, mask; };
#define DEFAULT 0
#define IGNORE 1
#define SET_SIZE 8

static bool is_ignored_by_default(int sig)
{
	return sig == SIGCHLD || sig == SIGURG || sig == SIGWINCH || sig == SIGCONT;
}

static void set_action(prog *p, const char *label, int sig, const struct kernel_action *a)
{
	CALL(p, label, SYS_rt_sigaction, EXPECT_EQUAL, 0, IMM(sig),
	     DATA(prog_data(p, a, sizeof(*a))), IMM(0), IMM(SET_SIZE));
}

/* Stops the children that were stopped, and takes note of it if the task had. */
static void stop_children(struct stub *s, uint64_t *told)
{
	struct restore *r = s->r;

	for (unsigned i = s->first_child; i; i = r->stubs[i].next_child) {
		const Crcore__Task *c = r->stubs[i].rec;
		if (c->state != CRCORE__TASK_STATE__STOPPED)
			continue;
		OP(s->p, "wait until child may stop", OP_WAIT, EXPECT_ANY, 0, IMM(r->stubs[i].stop_word),
		   IMM(1));
		CALL(s->p, "stop child", SYS_kill, EXPECT_EQUAL, 0, IMM(c->pid), IMM(SIGSTOP));
		CALL(s->p, "take note of stop", SYS_waitid, EXPECT_EQUAL, 0, IMM(P_PID), IMM(c->pid),
		     IMM(0), IMM(WSTOPPED | __WALL | (c->stop_untold ? WNOWAIT : 0)), IMM(0));
		*told |= 1ULL << (SIGCHLD - 1);
	}
}

static void note_end(const struct birth *b, uint64_t *told)
{
	if (b->exit_signal > 0)
		*told |= 1ULL << (b->exit_signal - 1);
}

/* Signals with which children that are gone, or will be reaped, told their end. */
static void ended_children(const struct stub *s, uint64_t *told)
{
	const struct births *b = &s->r->births;
	const struct stub *all = s->r->stubs;

	for (unsigned i = s->first_born; i; i = all[i].next_born)
		if (b->v[i].task < 0)
			note_end(&b->v[i], told);
	for (unsigned i = s->first_child; i; i = all[i].next_child)
		if (b->v[i].zombie)
			note_end(&b->v[i], told);
}

static uint64_t forget(struct stub *s)
{
	uint64_t told = 0;

	stop_children(s, &told);
	ended_children(s, &told);
	for (int sig = 1; sig <= 64; sig++) {
		struct kernel_action a = { .handler = is_ignored_by_default(sig) ? DEFAULT : IGNORE };
		if (told >> (sig - 1) & 1)
			set_action(s->p, "forget signal", sig, &a);
	}
	return told;
}

void signals_build(struct stub *s)
{
	uint64_t told = forget(s);

	share_ready(s, SHARE_SIGHAND);
	if (!s->sighand)
		return;
	share_wait(s, SHARE_SIGHAND);
	for (int sig = 1; sig <= 64 && (size_t)sig <= s->sighand->n_actions; sig++) {
		struct kernel_action a = { 0 };
		const ProtobufCBinaryData *d = &s->sighand->actions[sig - 1];
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		memcpy(&a, d->data, d->len < sizeof(a) ? d->len : sizeof(a));
		if (a.handler || a.flags || a.mask || (told >> (sig - 1) & 1) || s->share[SHARE_SIGHAND].n)
			set_action(s->p, "set signal action", sig, &a);
	}
	if (s->actions_word)
		OP(s->p, "tell that actions are set", OP_POST, EXPECT_ANY, 0, IMM(s->actions_word), IMM(1));
}

static void queue(struct stub *s, prog *p, const ProtobufCBinaryData *info, uint32_t tid)
{
	siginfo_t si;

	if (info->len != sizeof(si))
		return;
	memcpy(&si, info->data, sizeof(si));
	uint32_t ref = prog_data(p, &si, sizeof(si));
	if (tid)
		CALL(p, "queue thread signal", SYS_rt_tgsigqueueinfo, EXPECT_EQUAL, 0, IMM(s->rec->pid),
		     IMM(tid), IMM(si.si_signo), DATA(ref));
	else
		CALL(p, "queue signal", SYS_rt_sigqueueinfo, EXPECT_EQUAL, 0, IMM(s->rec->pid),
		     IMM(si.si_signo), DATA(ref));
}

/* All signals are blocked, so what is queued stays. */
void pending_build(struct stub *s, prog *p, unsigned thread)
{
	const Crcore__Thread *t = s->rec->threads[thread];
	const struct stub *owner = s->owner[SHARE_SIGHAND];

	if (!t->n_pending && (thread || !s->rec->n_pending))
		return;
	OP(p, "wait for signal actions", OP_WAIT, EXPECT_ANY, 0, IMM(owner->actions_word), IMM(1));
	for (size_t i = 0; i < t->n_pending; i++)
		queue(s, p, &t->pending[i], t->tid);
	for (size_t i = 0; thread == 0 && i < s->rec->n_pending; i++)
		queue(s, p, &s->rec->pending[i], 0);
}
