/* SPDX-License-Identifier: Apache-2.0 */
/* See seize.h. */
#include <linux/kcmp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/task/seize.h"
#include "core/util/util.h"

#define EXEC_TRIES 20 /* 1 ms each */

int thread_failed(const struct thread *t, int code, const char *what,
                  struct crcore_error *err)
{
	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	return crcore_fail(err, code, "cannot %s thread %d: %s", what, t->tid, strerror(-code));
}

static pid_t tracer_of(const struct thread *t)
{
	cleanup_free char *status = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char name[40];
	const char *by = NULL;

	snprintf(name, sizeof(name), "task/%d/status", t->tid);
	if (proc_read(t->task->proc, name, &status, NULL, &ignored) == 0)
		by = proc_field(status, "TracerPid");
	return by ? atoi(by) : 0;
}

static int refuse_traced(const struct thread *t, struct crcore_error *err)
{
	pid_t by = tracer_of(t);

	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	if (by) {
		crcore_advise(err, "end the tracer (a debugger, strace) or let it detach first");
		return crcore_fail(err, -EBUSY, "it is traced by process %d", by);
	}
	crcore_advise(err, "run crcore with CAP_SYS_PTRACE");
	return crcore_fail(err, -EPERM, "not allowed to seize thread %d", t->tid);
}

static bool thread_is_dead(const struct thread *t)
{
	char name[32];
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	snprintf(name, sizeof(name), "task/%d/stat", t->tid);
	if (proc_read(t->task->proc, name, &text, NULL, &ignored) < 0)
		return true;
	char *p = strrchr(text, ')');
	return !p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X';
}

int thread_seize(struct thread *t, struct crcore_error *err)
{
	for (int tries = 0; ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) < 0; tries++) {
		int e = errno;
		if (e == ESRCH || thread_is_dead(t))
			return 0;
		if (e != EPERM)
			return thread_failed(t, -e, "seize", err);
		/* One that calls exec while others run becomes the leader. We may know it by its
		 * old number, and for a moment it cannot be seized. */
		pid_t by = tracer_of(t);
		if (by == getpid())
			break;
		if (tries == EXEC_TRIES || by)
			return refuse_traced(t, err);
		usleep(1000);
	}
	t->seized = true;
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 && errno != ESRCH)
		return thread_failed(t, -errno, "interrupt", err);
	return 1;
}

/* The child that a thread in vfork(2) waits for: it runs in the same memory. */
static pid_t vfork_child(const struct thread *t)
{
	cleanup_free pid_t *pids = NULL;
	unsigned n = 0;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (proc_children(t->task->proc, t->tid, &pids, &n, &ignored) < 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (syscall(SYS_kcmp, t->task->abi.pid, pids[i], KCMP_VM, 0, 0) == 0)
			return pids[i];
	return 0;
}

int thread_refuse(const struct thread *t, struct crcore_error *err)
{
	pid_t child = vfork_child(t);

	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	if (child) {
		crcore_advise(err, "try again when process %d has called exec or ended", child);
		return crcore_fail(err, -ETIMEDOUT, "thread %d waits in vfork for process %d", t->tid,
		                   child);
	}
	crcore_advise(err, "it waits in the kernel for a device or a file server; see "
	              "/proc/%d/task/%d/stack, or raise dump.timeout", t->task->abi.pid, t->tid);
	return crcore_fail(err, -ETIMEDOUT, "thread %d does not stop", t->tid);
}
