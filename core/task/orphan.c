/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads whose coordinator was killed go back to the application by
 * themselves (parasite/). One that is met on that way is led to its end first: else
 * we would keep a way back that leads through places which we use ourselves. It executes
 * nothing of the application: a paused tree is woken for this.
 */
#include <inttypes.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/inject.h"
#include "core/task/stops.h"
#include "core/util/util.h"
#include "parasite/arch/x86_64.h"
#include "parasite/blob.h"

#define PATIENCE 1000000000u /* ns */
#define CODE_TOLD 256        /* bytes by which the interpreter is recognised */
#define UNBLOCKABLE ((1ull << 8) | (1ull << 18)) /* SIGKILL, SIGSTOP */

/* The mapping that holds the address, as a line of /proc/PID/maps. */
static bool find_mapping(const struct task *t, uint64_t addr, uint64_t *ret_start, char perms[5],
                         char name[64])
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	uint64_t start, end;

	if (proc_read(t->proc, "maps", &text, NULL, &ignored) < 0)
		return false;
	for (char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : 0) {
		name[0] = '\0';
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %*u%*[ ]%63[^\n]", &start, &end,
		           perms, name) >= 3 && addr >= start && addr < end) {
			*ret_start = start;
			return true;
		}
	}
	return false;
}

static bool begins_with(const struct thread *t, uint64_t addr, const void *bytes, size_t len)
{
	uint8_t buf[256];

	return len <= sizeof(buf) && read_task(t->tid, addr, buf, len) == (ssize_t)len &&
	       !memcmp(buf, bytes, len);
}

static bool on_its_way(const struct thread *t)
{
	static const uint64_t magic = REGION_MAGIC;
	uint64_t ip = arch_ip(&t->regs), start;
	char perms[5], name[64];

	/* All of the way but its last steps is with all signals blocked. */
	if ((t->sigmask | UNBLOCKABLE) != ALL_SIGNALS ||
	    !find_mapping(t->task, ip, &start, perms, name))
		return false;
	if (!strcmp(name, "[vdso]"))
		return ip - start >= vdso_own_length();
	if (perms[2] != 'x')
		return false;
	if (perms[3] == 's') /* a region, or its code where that is apart from the rest (inject.c) */
		return begins_with(t, start, &magic, sizeof(magic)) ||
		       begins_with(t, start, interpreter_blob, CODE_TOLD);
	return begins_with(t, ip & ~(PAGE - 1), interpreter_return, interpreter_return_size);
}

/* Its last system call is done: what is left of the way only loads registers. */
static bool is_at_the_end(const struct thread *t, const arch_regs *regs)
{
	const uint8_t *insn = memmem(interpreter_return, interpreter_return_size, ARCH_SYSCALL_INSN,
	                             ARCH_SYSCALL_INSN_SIZE);
	uint64_t done = insn ? (uint64_t)(insn - interpreter_return) + ARCH_SYSCALL_INSN_SIZE : 0;

	return insn && arch_syscall(regs) == SYS_rt_sigprocmask && arch_result(regs) == 0 &&
	       begins_with(t, arch_ip(regs) - done, interpreter_return, interpreter_return_size);
}

/* From one system call to the next, up to where nothing is left but the application's
 * registers. These it gets from us, so that it stops before it executes an instruction. */
static int lead_back(struct thread *t, uint64_t deadline)
{
	struct frame f;
	arch_regs regs;
	int status, r;

	if ((r = stop_options(t->tid, 0)) < 0)
		return r;
	do {
		if (ptrace(PTRACE_SYSCALL, t->tid, NULL, 0) < 0)
			return -ESRCH;
		if ((r = stop_next(t->tid, deadline, &status)) <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		if (!WIFSTOPPED(status) || ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) < 0)
			return -ESRCH;
	} while (stop_is_event(status) || !is_at_the_end(t, &regs));
	if (read_task(t->tid, arch_way_back(&regs), &f, sizeof(f)) != (ssize_t)sizeof(f))
		return -EFAULT;
	arch_come_back(&regs, &f);
	return ptrace(PTRACE_SETREGS, t->tid, NULL, &regs) < 0 || stop_ask(t->tid) < 0 ||
	       ptrace(PTRACE_CONT, t->tid, NULL, NULL) < 0 ? -ESRCH : 0;
}

int stop_after_orphan(struct thread *t, struct crcore_error *err)
{
	uint64_t deadline = now_ns() + PATIENCE;
	int signo, r;

	if (!on_its_way(t))
		return 0;
	if ((r = lead_back(t, deadline)) < 0 || (r = stop_rest(t->tid, deadline, &signo)) < 0)
		return crcore_fail(err, r, "thread %d does not leave what another crcore left in it: %s",
		                   t->tid, r == -ESRCH ? "it was killed meanwhile" : strerror(-r));
	t->group_stop = signo != 0;
	t->stop_signal = signo;
	return regs_read(t, err);
}
