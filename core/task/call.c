/* SPDX-License-Identifier: Apache-2.0 */
/* See call.h. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "core/task/call.h"
#include "core/task/inject.h"
#include "core/task/stops.h"
#include "core/util/util.h"

/* ---- the steps, in their order ------------------------------------------------------- */

static int look(struct call *c, uint64_t deadline)
{
	int r = c->known ? 0 : stop_options(c->tid, c->options);

	if (r == 0 && !c->known && (ptrace(PTRACE_GETREGS, c->tid, NULL, &c->before) < 0 ||
	               ptrace(PTRACE_GETSIGMASK, c->tid, sizeof(c->mask), &c->mask) < 0))
		r = -errno;
	return r;
}

static int send(struct call *c, uint64_t deadline)
{
	const uint64_t all = ALL_SIGNALS;
	arch_regs regs = c->before;

	arch_set_call(&regs, c->insn, c->nr, c->args);
	arch_set_undo(&regs, c->undo);
	c->changed = true;
	/* The mask is changed only while a landing would put it right. */
	if (ptrace(PTRACE_SETREGS, c->tid, NULL, &regs) < 0 ||
	    ptrace(PTRACE_SETSIGMASK, c->tid, sizeof(all), &all) < 0 ||
	    ptrace(PTRACE_SYSCALL, c->tid, NULL, NULL) < 0)
		return -errno;
	return 0;
}

/* It enters the call. Asked now, it stops when that is done, before any other instruction. */
static int enter(struct call *c, uint64_t deadline)
{
	int status;

	for (;;) {
		int r = stop_next(c->tid, deadline, &status);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (status >> 16 == 0 && WSTOPSIG(status) == (SIGTRAP | 0x80))
			break;
		/* All signals but SIGSTOP are blocked. */
		if (ptrace(PTRACE_SYSCALL, c->tid, NULL, (long)stop_signal(status)) < 0)
			return -errno;
	}
	if (stop_ask(c->tid) < 0 || ptrace(PTRACE_CONT, c->tid, NULL, NULL) < 0)
		return -errno;
	return 0;
}

static int finish(struct call *c, uint64_t deadline)
{
	arch_regs after;
	int ignored, r = stop_rest(c->tid, deadline, &ignored);

	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETREGS, c->tid, NULL, &after) < 0)
		return -errno;
	if (arch_ip(&after) != c->insn + ARCH_SYSCALL_INSN_SIZE)
		return -EIO;
	c->result = arch_result(&after);
	return 0;
}

static void put_back(struct call *c)
{
	if (!c->changed)
		return;
	ptrace(PTRACE_SETSIGMASK, c->tid, sizeof(c->mask), &c->mask);
	ptrace(PTRACE_SETREGS, c->tid, NULL, &c->before);
}

/* ---- all of them ---------------------------------------------------------------------- */

void calls_make(struct call *calls, size_t n)
{
	static int (*const steps[])(struct call *, uint64_t) = { look, send, enter, finish };
	uint64_t deadline = now_ns() + INJECT_TIMEOUT;

	for (size_t i = 0; i < n; i++)
		calls[i].r = 0, calls[i].changed = false;
	for (size_t s = 0; s < ARRAY_SIZE(steps); s++)
		for (size_t i = 0; i < n; i++)
			if (calls[i].r == 0)
				calls[i].r = steps[s](&calls[i], deadline);
	for (size_t i = 0; i < n; i++)
		put_back(&calls[i]);
}

int call_error(const struct call *c, struct crcore_error *err)
{
	if (c->r == -ESRCH)
		return crcore_fail(err, c->r, "thread %d was killed meanwhile", c->tid);
	if (c->r == -EIO)
		return crcore_fail(err, c->r, "thread %d did not make the system call", c->tid);
	return crcore_fail(err, c->r, "thread %d did not come back from a system call: %s", c->tid,
	                   strerror(-c->r));
}
