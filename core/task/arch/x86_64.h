/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the coordinator must know of the processor to look at and set up a
 * stopped thread. A port writes this file anew (and parasite/arch/).
 */
#ifndef CRCORE_TASK_ARCH_X86_64_H
#define CRCORE_TASK_ARCH_X86_64_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include "parasite/arch/x86_64.h"

#define ARCH_ELF_MACHINE EM_X86_64
/* exit_group(0) */
#define ARCH_EXIT_CODE { 0x31, 0xff, 0xb8, SYS_exit_group, 0, 0, 0, 0x0f, 0x05 }
#define ARCH_XSTATE_REGSET 0x202 /* NT_X86_XSTATE, elf(5) */

typedef struct user_regs_struct arch_regs;

static inline uint64_t arch_ip(const arch_regs *r) { return r->rip; }
static inline uint64_t arch_sp(const arch_regs *r) { return r->rsp; }
static inline void arch_set_ip(arch_regs *r, uint64_t ip) { r->rip = ip; }
static inline int64_t arch_result(const arch_regs *r) { return (int64_t)r->rax; }
static inline void arch_set_result(arch_regs *r, int64_t v) { r->rax = (uint64_t)v; }
/* Number of the system call that the thread is in, -1: in none. */
static inline int64_t arch_syscall(const arch_regs *r) { return (int64_t)r->orig_rax; }
static inline void arch_clear_syscall(arch_regs *r) { r->orig_rax = (uint64_t)-1; }

static inline uint64_t arch_syscall_arg(const arch_regs *r, int i)
{
	const uint64_t a[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 };
	return a[i];
}

/* Makes the thread issue the system call it is in once more, from user space. */
static inline void arch_reissue(arch_regs *r)
{
	r->rip -= 2; /* length of the syscall instruction */
	r->rax = r->orig_rax;
	r->orig_rax = (uint64_t)-1;
}

/* Sends the thread into the interpreter: entry(program). The stack comes from the
 * program. Single-stepping, direction and alignment flags are not for it. */
static inline void arch_divert(arch_regs *r, uint64_t entry, uint64_t program)
{
	r->rip = entry;
	r->rdi = program;
	r->eflags &= ~0x44500ul; /* TF, DF, NT, AC */
	arch_clear_syscall(r);
}

/* Lets the thread make one system call, at an instruction that does that. */
static inline void arch_set_call(arch_regs *r, uint64_t insn, long nr, const uint64_t a[6])
{
	r->rip = insn;
	r->rax = (uint64_t)nr;
	r->rdi = a[0];
	r->rsi = a[1];
	r->rdx = a[2];
	r->r10 = a[3];
	r->r8 = a[4];
	r->r9 = a[5];
	r->eflags &= ~0x44500ul;
	arch_clear_syscall(r);
}
/* For the landing (parasite/arch/): the size of what the call maps, to be undone
 * by an orphan; 0: nothing. */
static inline void arch_set_undo(arch_regs *r, uint64_t size) { r->r12 = size; }

/* The way back of a thread that has these registers. Only that it steps itself (TF) is lost. */
static inline void arch_fill_frame(struct frame *f, const arch_regs *r, uint64_t sigmask)
{
	arch_regs back = *r;

	_Static_assert(sizeof(*r) == sizeof(f->regs), "struct frame is the registers");
	back.eflags &= ~0x100ul; /* TF */
	memcpy(f->regs, &back, sizeof(back));
	f->sigmask = sigmask;
	f->again_rax = arch_result(r) == -RESTART_BLOCK ? SYS_restart_syscall : r->orig_rax;
	f->again_rip = r->rip - 2; /* length of the syscall instruction */
}
/* Of a thread in the last system call of the way back (parasite/arch/): its struct frame. */
static inline uint64_t arch_way_back(const arch_regs *r) { return r->rbx; }
/* The registers of such a thread become those that it is about to get. */
static inline void arch_come_back(arch_regs *r, const struct frame *f)
{
	const uint64_t how = r->r12;

	memcpy(r, f->regs, sizeof(*r));
	if (how == COME_INTERRUPTED)
		r->rax = (uint64_t)-EINTR;
	else if (how == COME_AGAIN) {
		r->rax = f->again_rax;
		r->rip = f->again_rip;
	}
	arch_clear_syscall(r);
}
/* modify_ldt(2), read: > 0 if the process has segments of its own. */
#define ARCH_SEGMENTS_CALL SYS_modify_ldt
#define ARCH_SYSCALL_INSN "\x0f\x05"
#define ARCH_SYSCALL_INSN_SIZE 2

/* Code that ends with a system call: its number, if that is loaded right before
 * (mov $nr, %eax), else -1. */
#define ARCH_CALL_SIZE 7
static inline int64_t arch_call_number(const uint8_t code[ARCH_CALL_SIZE])
{
	if (code[0] != 0xb8 || code[5] != 0x0f || code[6] != 0x05)
		return -1;
	return (int64_t)(code[1] | code[2] << 8 | code[3] << 16 | (uint32_t)code[4] << 24);
}

/* A program for another instruction set (32 bits) is not handled. */
static inline bool arch_is_native(const arch_regs *r) { return r->cs == 0x33; }

#endif
