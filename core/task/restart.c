/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that the kernel continues. Four of them wait for a relative time and go on by
 * restart_syscall(2) after a stop; the kernel then keeps the number of the call where nobody
 * can read it. The code that made the call tells it, where that loads the number right before;
 * else where in the kernel the thread sleeps. One that does not sleep, since it was stopped, is
 * led to its sleep, and back: it executes nothing of the application. A signal that comes first
 * is delivered, as it would have been. But what waits until a stopped process goes on (SIGCONT)
 * must not be, since that may end it: there the call remains untold; what comes while it is led is
 * put back.
 */
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/inject.h"
#include "core/task/restart.h"
#include "core/task/seize.h"
#include "core/task/stops.h"
#include "core/util/util.h"

#define PATIENCE 200000000u /* ns for a thread to come to its sleep: signals may come first */

static int64_t call_in_code(pid_t tid, uint64_t ip)
{
	uint8_t code[ARCH_CALL_SIZE];
	int64_t nr = -1;

	if (read_task(tid, ip - sizeof(code), code, sizeof(code)) == (ssize_t)sizeof(code))
		nr = arch_call_number(code);
	return nr == SYS_poll || nr == SYS_futex || nr == SYS_nanosleep || nr == SYS_clock_nanosleep ?
	       nr : -1;
}

/* A sleep is resumed by a tail call; what shows of it is mostly who made the system call. Its
 * clock is a small number, negative for that of a process; a pointer is neither. */
static int64_t call_slept_in(int proc, pid_t tid, uint64_t first_arg)
{
	cleanup_free char *where = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	int64_t clock = first_arg >> 32 ? (int64_t)first_arg : (int32_t)first_arg;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/wchan", tid);
	if (proc_read_whole(proc, path, &where, NULL, &ignored) < 0)
		return -1;
	if (strstr(where, "poll"))
		return SYS_poll;
	if (strstr(where, "futex"))
		return SYS_futex;
	if (!strstr(where, "nsleep") && !strstr(where, "nanosleep") && !strstr(where, "do_syscall") &&
	    !strstr(where, "restart_syscall"))
		return -1;
	return clock < (int64_t)PAGE ? SYS_clock_nanosleep : SYS_nanosleep;
}

int64_t restarted_call(int proc, pid_t tid, uint64_t ip, uint64_t first_arg)
{
	int64_t nr = call_in_code(tid, ip);

	return nr < 0 ? call_slept_in(proc, tid, first_arg) : nr;
}

/* ---- of a stopped thread -------------------------------------------------------------- */

static bool is_untold(const struct thread *t)
{
	return arch_syscall(&t->regs) == SYS_restart_syscall && t->restarted_nr < 0 &&
	       arch_result(&t->regs) == -ERESTART_RESTARTBLOCK;
}

/* On to its next stop, or to where it sleeps in its call. *ret_status: of the stop, 0: none. */
static int go_on(struct thread *t, uint64_t deadline, bool inside, int *ret_status)
{
	int r;

	*ret_status = 0;
	if (ptrace(PTRACE_SYSCALL, t->tid, NULL, NULL) < 0)
		return -ESRCH;
	if (!inside)
		r = stop_next(t->tid, deadline, ret_status);
	else while ((r = stop_next(t->tid, 0, ret_status)) == 0 && now_ns() < deadline) {
		t->restarted_nr = call_slept_in(t->task->proc, t->tid, arch_syscall_arg(&t->regs, 0));
		if (t->restarted_nr >= 0)
			break;
		usleep(50);
	}
	return r < 0 || (r > 0 && !WIFSTOPPED(*ret_status)) ? -ESRCH : 0;
}

static int set_mask(struct thread *t, uint64_t mask)
{
	if (ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask) < 0)
		return -ESRCH;
	t->masked = mask != t->sigmask;
	return 0;
}

/* It rests again, wherever it was stopped (0: it runs). A signal that a stopped process is given
 * is put back: it waits until the mask is open again, as it would have waited. Only that one is
 * blocked: should we be killed right then, nobody opens the mask. Of one that does not come to rest
 * in time that is done when it is let go. */
static int halt(struct thread *t, int status)
{
	const uint64_t deadline = now_ns() + PATIENCE;
	uint64_t mask = t->sigmask;
	int r = 0;

	while (!status || !stop_is_event(status)) {
		int signo = status ? stop_signal(status) : 0;
		if (signo && t->group_stop && (r = set_mask(t, mask |= 1ull << (signo - 1))) < 0)
			return r;
		if (stop_ask(t->tid) < 0 ||
		    (status && ptrace(PTRACE_CONT, t->tid, NULL, (long)signo) < 0))
			return -ESRCH;
		if ((r = stop_next(t->tid, deadline, &status)) == 0)
			return -ETIMEDOUT;
		if (r < 0 || !WIFSTOPPED(status))
			return -ESRCH;
	}
	return t->masked ? set_mask(t, t->sigmask) : 0;
}

/* What it does then (it may have slept to the end, or a signal have come) its registers say. */
static int look_inside(struct thread *t, uint64_t deadline, struct crcore_error *err)
{
	int status, r = go_on(t, deadline, false, &status);

	if (r == 0 && status && !stop_is_event(status) && !stop_signal(status))
		r = go_on(t, deadline, true, &status);
	if (r == 0 && (r = halt(t, status)) == -ETIMEDOUT)
		t->stopped = false;
	if (r == 0 && (r = regs_read(t, err)) == 0 &&
	    ptrace(PTRACE_SETREGS, t->tid, NULL, &t->regs) < 0)
		r = -errno;
	return r < 0 && !err->code ? thread_failed(t, r, "look at the system call of", err) : r;
}

static bool may_look(const struct thread *t)
{
	return is_untold(t) && !(t->group_stop && signal_is_due(t));
}

static int tell(struct thread *t, struct crcore_error *err)
{
	uint64_t deadline = now_ns() + PATIENCE;
	int r = 0;

	if (is_untold(t))
		t->restarted_nr = call_in_code(t->tid, arch_ip(&t->regs));
	while (r == 0 && may_look(t) && now_ns() < deadline)
		r = look_inside(t, deadline, err);
	return r;
}

static unsigned count_untold(const struct tree *tree)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tree->ntasks; i++)
		for (unsigned k = 0; k < tree->tasks[i]->nthreads; k++)
			n += is_untold(&tree->tasks[i]->threads[k]);
	return n;
}

int restarts_tell(struct tree *tree, const struct pauses *pauses, struct crcore_error *err)
{
	struct crcore_error second = CRCORE_ERROR_INIT;
	int r = 0, e;

	if (!count_untold(tree))
		return 0;
	if (pauses && (r = pauses->wake(pauses->arg, CRCORE_WAKE_RUN, err)) < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < tree->ntasks; i++)
		for (unsigned k = 0; r == 0 && k < tree->tasks[i]->nthreads; k++)
			r = tell(&tree->tasks[i]->threads[k], err);
	e = pauses ? pauses->rest(pauses->arg, r < 0 ? &second : err) : 0;
	return r < 0 ? r : e;
}
