/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that waited with a relative timeout. How much is left of it only the
 * kernel knows, in a block that cannot be written from outside. So the thread
 * makes the very same call, for the time that was left, as the last operation
 * of its program; settle.c interrupts it there, and the kernel fills its block.
 */
#include <sys/syscall.h>
#include "core/restore/restore.h"

/* Which argument is the timeout: a struct timespec, or (poll) milliseconds. */
static int timeout_arg(uint32_t nr)
{
	switch (nr) {
	case SYS_nanosleep: return 0;
	case SYS_clock_nanosleep: return 2;
	case SYS_poll: return 2;
	case SYS_futex: return 3;
	default: return -1;
	}
}

/* Others (no end, or unknown) are simply issued again. */
static bool is_timed(const Crcore__Resume *m)
{
	return m && m->restart_block && m->remaining != UINT64_MAX && timeout_arg(m->nr) >= 0;
}

void thread_resume(struct stub *s, prog *p, unsigned thread)
{
	const Crcore__Resume *m = s->rec->threads[thread]->resume;
	struct timespec left;
	struct crcore_arg args[6];

	s->resume_op[thread] = UINT32_MAX;
	if (!is_timed(m))
		return;
	for (int i = 0; i < 6; i++)
		args[i] = IMM(m->args[i]);
	left.tv_sec = (time_t)(m->remaining / 1000000000u);
	left.tv_nsec = (long)(m->remaining % 1000000000u);
	if (m->nr == SYS_poll) {
		uint64_t ms = (m->remaining + 999999) / 1000000;
		args[2] = IMM(ms < INT32_MAX ? ms : INT32_MAX);
	} else {
		args[timeout_arg(m->nr)] = DATA(prog_data(p, &left, sizeof(left)));
	}
	OP(p, "wait until it may wait", OP_WAIT, EXPECT_ANY, 0, IMM(s->r->resume_word), IMM(1));
	s->resume_op[thread] = prog_call(p, "continue wait", m->nr, args, EXPECT_ANY, 0);
}
