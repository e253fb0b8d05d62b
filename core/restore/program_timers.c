/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of a process. POSIX timers are made early (their owner threads exist
 * by then) and set, with the interval timers, when all is complete.
 *
 * Ids: the kernel gives the requested one where prctl(PR_TIMER_CREATE_RESTORE_IDS)
 * exists; elsewhere a new process counts from 0, so timers in between are made
 * and deleted until the number is right.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include "core/restore/restore.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77
#endif
#define COUNT_MAX 10000

struct kernel_sigevent { uint64_t value; int32_t signo, notify, tid, pad[11]; };
_Static_assert(sizeof(struct kernel_sigevent) == 64, "timer_create(2)");

static int by_timer_id(const void *a, const void *b)
{
	const Crcore__PosixTimer *x = *(Crcore__PosixTimer *const *)a;
	const Crcore__PosixTimer *y = *(Crcore__PosixTimer *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t create(prog *p, const Crcore__PosixTimer *t, uint32_t ref)
{
	struct kernel_sigevent ev = { .value = t->sigval, .signo = (int32_t)t->signo,
		                      .notify = (int32_t)t->notify, .tid = (int32_t)t->tid };

	return CALL(p, "create timer", SYS_timer_create, EXPECT_EQUAL, 0, IMM(t->clock),
	            DATA(prog_data(p, &ev, sizeof(ev))), DATA(ref));
}

/* Makes and deletes timers until the next one has the id. */
static void count_to(prog *p, const Crcore__PosixTimer *t, uint32_t *next)
{
	for (; *next < t->id; ++*next) {
		uint32_t skipped = prog_data(p, NULL, 8);
		create(p, t, skipped);
		CALL(p, "delete timer", SYS_timer_delete, EXPECT_EQUAL, 0, IMM(*next));
	}
	++*next;
}

int timers_create(struct stub *s, struct crcore_error *err)
{
	const Crcore__Task *rec = s->rec;
	const bool by_id = s->r->own->restore_timer_ids;
	uint32_t next = 0;

	if (!rec->n_timers)
		return 0;
	qsort(rec->timers, rec->n_timers, sizeof(*rec->timers), by_timer_id);
	if (!by_id && rec->timers[rec->n_timers - 1]->id > COUNT_MAX) {
		crcore_fail_at(err, (pid_t)rec->pid, -1, "timer %u", rec->timers[rec->n_timers - 1]->id);
		return crcore_fail(err, -ENOTSUP, "this kernel cannot make a timer with this id");
	}
	if (by_id)
		CALL(s->p, "choose timer ids", SYS_prctl, EXPECT_EQUAL, 0,
		     IMM(PR_TIMER_CREATE_RESTORE_IDS), IMM(1), IMM(0), IMM(0), IMM(0));
	for (size_t i = 0; i < rec->n_timers; i++) {
		const Crcore__PosixTimer *t = rec->timers[i];
		if (!by_id)
			count_to(s->p, t, &next);
		create(s->p, t, prog_data(s->p, &t->id, sizeof(t->id)));
	}
	if (by_id)
		CALL(s->p, "choose no timer ids", SYS_prctl, EXPECT_EQUAL, 0,
		     IMM(PR_TIMER_CREATE_RESTORE_IDS), IMM(0), IMM(0), IMM(0), IMM(0));
	return 0;
}

static struct timespec from_ns(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
}

static struct timeval from_us(uint64_t us)
{
	return (struct timeval){ (time_t)(us / 1000000u), (suseconds_t)(us % 1000000u) };
}

void timers_arm(struct stub *s)
{
	const Crcore__Task *rec = s->rec;

	for (size_t i = 0; i < rec->n_timers; i++) {
		const Crcore__PosixTimer *t = rec->timers[i];
		struct itimerspec v = { from_ns(t->interval_ns), from_ns(t->value_ns) };
		if (t->value_ns)
			CALL(s->p, "set timer", SYS_timer_settime, EXPECT_EQUAL, 0, IMM(t->id), IMM(0),
			     DATA(prog_data(s->p, &v, sizeof(v))), IMM(0));
	}
	for (size_t i = 0; i < rec->n_itimers; i++) {
		const Crcore__Itimer *t = rec->itimers[i];
		/* No time left but an interval: its signal is queued, and the kernel starts
		 * the next round when that is taken. */
		uint64_t left = t->value_us ? t->value_us : t->interval_us;
		struct itimerval v = { from_us(t->interval_us), from_us(left) };
		if (left)
			CALL(s->p, "set interval timer", SYS_setitimer, EXPECT_EQUAL, 0, IMM(i),
			     DATA(prog_data(s->p, &v, sizeof(v))), IMM(0));
	}
}
