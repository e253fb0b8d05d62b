/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers and what hangs on them: the state a thread goes on with. A thread
 * is stopped either in user space, or on its way out of a system call that the
 * stop interrupted; then the kernel's private codes in the result register say
 * how it would have gone on (include/linux/errno.h in the kernel), and the
 * saved state must lead to the same.
 */
#include <elf.h>
#include <linux/rseq.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "core/task/arch/x86_64.h"
#include "core/task/task.h"
#include "core/util/util.h"

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif
struct rseq_configuration { /* struct ptrace_rseq_configuration, linux/ptrace.h */
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

static int read_target(pid_t tid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)(uintptr_t)addr, len };

	return process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -errno;
}

static bool rseq_configuration(pid_t tid, struct rseq_configuration *ret)
{
	return ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(*ret), ret) == sizeof(*ret) &&
	       ret->pointer;
}

/*
 * A thread stopped inside a restartable sequence must not go on in it: the
 * kernel would have sent it to the abort handler (rseq(2)). It cannot know any
 * more once the thread was elsewhere, so this is done for it.
 */
static void leave_rseq(struct thread *t)
{
	struct rseq_configuration c;
	uint64_t descriptor = 0;
	struct rseq_cs cs;

	if (!rseq_configuration(t->tid, &c) ||
	    read_target(t->tid, c.pointer + offsetof(struct rseq, rseq_cs), &descriptor,
	                sizeof(descriptor)) < 0 ||
	    !descriptor || read_target(t->tid, descriptor, &cs, sizeof(cs)) < 0)
		return;
	if (arch_ip(&t->regs) - cs.start_ip < cs.post_commit_offset)
		arch_set_ip(&t->regs, cs.abort_ip);
}

/*
 * A thread that is stopped again before it has run: the kernel has gone back already to
 * the call that it will continue by restart_syscall(2), so that the result tells no more
 * that it was interrupted. It is made to tell that, as at the first stop; the kernel then
 * goes back once more. A call whose result happens to be that number has its instruction
 * behind it, not before it (between two of them it is left alone).
 */
static void leave_restart(struct thread *t)
{
	const uint64_t ip = arch_ip(&t->regs);
	uint8_t code[ARCH_SYSCALL_INSN_SIZE];

	if (arch_result(&t->regs) != SYS_restart_syscall ||
	    read_target(t->tid, ip, code, sizeof(code)) < 0 ||
	    memcmp(code, ARCH_SYSCALL_INSN, sizeof(code)))
		return;
	if (read_target(t->tid, ip - sizeof(code), code, sizeof(code)) == 0 &&
	    !memcmp(code, ARCH_SYSCALL_INSN, sizeof(code)))
		return;
	arch_set_ip(&t->regs, ip + sizeof(code));
	arch_set_result(&t->regs, -ERESTART_RESTARTBLOCK);
}

/* System calls that a stop ends with EINTR although no signal was handled
 * (signal(7), "never restarted"): issuing them again is what was meant. */
static bool ended_by_stop(int64_t nr)
{
	static const int nrs[] = { SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_semop,
		                   SYS_semtimedop, SYS_rt_sigtimedwait, SYS_io_getevents,
		                   SYS_io_uring_enter };

	for (size_t i = 0; i < ARRAY_SIZE(nrs); i++)
		if (nr == nrs[i])
			return true;
	return false;
}

static int pending_signals(pid_t tid, bool shared, size_t *ret_n, protobuf_c_boolean keep,
                           ProtobufCBinaryData **ret, uint64_t *ret_set, struct crcore_error *err)
{
	struct __ptrace_peeksiginfo_args args = { .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0 };
	siginfo_t buf[32];

	for (;;) {
		args.nr = ARRAY_SIZE(buf);
		long n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, buf);
		if (n < 0)
			return crcore_fail(err, -errno, "cannot read pending signals: %s",
			                   strerror(errno));
		for (long i = 0; i < n; i++) {
			if (ret_set)
				*ret_set |= 1ULL << (buf[i].si_signo - 1);
			if (!keep)
				continue;
			void *copy = malloc(sizeof(siginfo_t));
			if (!copy || !GROW(*ret, *ret_n)) {
				free(copy);
				return crcore_no_memory(err);
			}
			memcpy(copy, &buf[i], sizeof(siginfo_t));
			(*ret)[(*ret_n)++] = (ProtobufCBinaryData){ sizeof(siginfo_t), copy };
		}
		if (n < (long)ARRAY_SIZE(buf))
			return 0;
		args.off += (uint64_t)n;
	}
}

bool signal_is_due(const struct thread *t)
{
	uint64_t set = 0;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	pending_signals(t->tid, false, NULL, false, NULL, &set, &ignored);
	pending_signals(t->tid, true, NULL, false, NULL, &set, &ignored);
	return set & ~t->sigmask;
}

int regs_read(struct thread *t, struct crcore_error *err)
{
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs) < 0 ||
	    ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask) < 0)
		return crcore_fail(err, -errno, "cannot read the registers of thread %d: %s", t->tid,
		                   strerror(errno));
	if (arch_syscall(&t->regs) < 0)
		leave_rseq(t);
	else if (arch_result(&t->regs) == -EINTR && ended_by_stop(arch_syscall(&t->regs)) &&
	         !signal_is_due(t))
		arch_reissue(&t->regs);
	else
		leave_restart(t);
	return 0;
}

static int save_xstate(pid_t tid, ProtobufCBinaryData *ret, struct crcore_error *err)
{
	static const size_t max = 64 << 10; /* AMX needs 11 KiB */
	struct iovec iov = { malloc(max), max };

	if (!iov.iov_base)
		return crcore_no_memory(err);
	if (ptrace(PTRACE_GETREGSET, tid, ARCH_XSTATE_REGSET, &iov) < 0) {
		int e = errno;
		free(iov.iov_base);
		return crcore_fail(err, -e, "cannot read the FPU state of thread %d: %s", tid,
		                   strerror(e));
	}
	void *fit = realloc(iov.iov_base, iov.iov_len);
	ret->data = fit ? fit : iov.iov_base;
	ret->len = iov.iov_len;
	return 0;
}

/* ---- interrupted system calls with a timeout ------------------------------ */

#define ENDLESS 9223372036 /* s: the kernel counts no further */

/* In ns; UINT64_MAX: it does not end. */
static uint64_t read_timespec_ns(pid_t tid, uint64_t addr)
{
	struct timespec ts;

	if (!addr || read_target(tid, addr, &ts, sizeof(ts)) < 0 || ts.tv_sec < 0)
		return 0;
	if (ts.tv_sec >= ENDLESS)
		return UINT64_MAX;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The relative timeout that the thread asked for, in ns; UINT64_MAX: none. */
static uint64_t asked_timeout(pid_t tid, uint64_t nr, const uint64_t *args)
{
	switch (nr) {
	case SYS_nanosleep:
		return read_timespec_ns(tid, args[0]);
	case SYS_clock_nanosleep:
		return read_timespec_ns(tid, args[2]);
	case SYS_poll: /* an int: what else is in the register says nothing */
		return (int)args[2] < 0 ? UINT64_MAX : (uint64_t)(int)args[2] * 1000000u;
	case SYS_futex:
		return args[3] ? read_timespec_ns(tid, args[3]) : UINT64_MAX;
	default:
		return UINT64_MAX;
	}
}

/* Where the kernel has just written the time that remains, 0: nowhere. */
static uint64_t remaining_at(uint64_t nr, const uint64_t *args)
{
	return nr == SYS_nanosleep ? args[1] : nr == SYS_clock_nanosleep ? args[3] : 0;
}

static int save_resume(struct thread *t, uint64_t nr, struct crcore_error *err)
{
	Crcore__Resume *r = malloc(sizeof(*r));
	uint64_t *args = malloc(6 * sizeof(*args));

	if (!r || !args) {
		free(r);
		free(args);
		return crcore_no_memory(err);
	}
	crcore__resume__init(r);
	t->rec->resume = r;
	r->nr = (uint32_t)nr;
	r->n_args = 6;
	r->args = args;
	for (int i = 0; i < 6; i++)
		args[i] = arch_syscall_arg(&t->regs, i);
	r->restart_block = true;

	uint64_t asked = asked_timeout(t->tid, nr, args), left = 0;
	if (remaining_at(nr, args))
		left = read_timespec_ns(t->tid, remaining_at(nr, args));
	if (!left || left > asked)
		left = asked == UINT64_MAX ? asked : asked > t->slept_ns ? asked - t->slept_ns : 0;
	r->remaining = left;
	return 0;
}

/* A FUTEX_WAIT with an absolute timeout can simply be issued again. */
static bool timeout_is_absolute(const arch_regs *r, int64_t nr)
{
	int op = (int)arch_syscall_arg(r, 1) & 127;

	return nr == SYS_futex && op != 0 /* FUTEX_WAIT */;
}

/* The registers to go on with. What a restart_syscall continues the kernel does not
 * tell any more: see restart.c. */
static int save_regs(struct thread *t, arch_regs *regs, struct crcore_error *err)
{
	int64_t nr = arch_syscall(regs);

	*regs = t->regs;
	if (nr < 0)
		return 0;
	switch (-arch_result(regs)) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		arch_reissue(regs);
		return 0;
	case ERESTART_RESTARTBLOCK:
		if (nr == SYS_restart_syscall)
			nr = t->restarted_nr;
		if (nr < 0) {
			crcore_advise(err, t->group_stop ? "let its process go on (SIGCONT), and try again" :
			                                   "try again in a moment, or signal the thread");
			return crcore_fail(err, -EAGAIN,
			                   "thread %d continues a system call that cannot be told", t->tid);
		}
		regs->orig_rax = (uint64_t)nr;
		if (timeout_is_absolute(regs, nr)) {
			arch_reissue(regs);
			return 0;
		}
		return save_resume(t, (uint64_t)nr, err);
	default: /* it is done: the result stands */
		arch_clear_syscall(regs);
		return 0;
	}
}

static int save_bytes(ProtobufCBinaryData *ret, const void *bytes, size_t len,
                      struct crcore_error *err)
{
	ret->data = malloc(len);
	if (!ret->data)
		return crcore_no_memory(err);
	memcpy(ret->data, bytes, len);
	ret->len = len;
	return 0;
}

int thread_save_state(struct thread *t, struct crcore_error *err)
{
	arch_regs regs = t->regs;
	struct rseq_configuration c;
	Crcore__Thread *rec = t->rec;
	int r;

	if ((r = save_regs(t, &regs, err)) < 0 ||
	    (r = save_bytes(&rec->regs, &regs, sizeof(regs), err)) < 0 ||
	    (r = save_xstate(t->tid, &rec->xstate, err)) < 0)
		return r;
	rec->sigmask = t->sigmask;
	if (rseq_configuration(t->tid, &c)) {
		rec->rseq = c.pointer;
		rec->rseq_len = c.size;
		rec->rseq_sig = c.signature;
		rec->rseq_flags = c.flags;
	}
	r = pending_signals(t->tid, false, &rec->n_pending, true, &rec->pending, NULL, err);
	if (r == 0 && t == t->task->threads)
		r = pending_signals(t->tid, true, &t->task->rec->n_pending, true,
		                    &t->task->rec->pending, NULL, err);
	return r;
}

int thread_load_state(pid_t tid, const Crcore__Thread *rec, struct crcore_error *err)
{
	struct iovec regs = { rec->regs.data, rec->regs.len };
	struct iovec xstate = { rec->xstate.data, rec->xstate.len };
	uint64_t mask = rec->sigmask;

	if (rec->regs.len != sizeof(arch_regs))
		return crcore_fail(err, -EBADMSG, "thread %u: registers of another processor", rec->tid);
	if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &regs) < 0)
		return crcore_fail(err, -errno, "cannot set the registers of thread %d: %s", tid,
		                   strerror(errno));
	if (ptrace(PTRACE_SETREGSET, tid, ARCH_XSTATE_REGSET, &xstate) < 0) {
		crcore_advise(err, "restore on a processor with the same features");
		return crcore_fail(err, -errno, "cannot set the FPU state of thread %d: %s", tid,
		                   strerror(errno));
	}
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0)
		return crcore_fail(err, -errno, "cannot set the signal mask of thread %d: %s", tid,
		                   strerror(errno));
	return 0;
}
