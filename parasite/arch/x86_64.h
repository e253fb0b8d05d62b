/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64: all that the interpreter, and whoever sends a thread into it, must
 * know of the processor. A port is this file anew.
 *
 * The interpreter is compiled without FPU and vector instructions, and system
 * calls keep those registers, so they stay as the application left them, all
 * the way in and back out.
 */
#ifndef CRCORE_PARASITE_ARCH_X86_64_H
#define CRCORE_PARASITE_ARCH_X86_64_H

#include <stdint.h>

/*
 * What brings a thread back to the application without a tracer. regs is laid
 * out as struct user_regs_struct (sys/user.h); iretq takes five of them at once.
 */
struct frame {
	uint64_t regs[27];
	uint64_t sigmask;
};

enum { FRAME_RAX = 10, FRAME_ORIG_RAX = 15, FRAME_RIP = 16, FRAME_RSP = 19 };

/* The codes with which the kernel says how an interrupted call goes on. */
enum { RESTART_SYS = 512, RESTART_NOINTR = 513, RESTART_NOHAND = 514, RESTART_BLOCK = 516 };

#ifdef CRCORE_INTERPRETER

/* Entry, first in the image: rdi = struct program *. */
__asm__(".section .entry, \"ax\"\n"
        ".globl interpreter_entry, landing, landing_end\n"
        "interpreter_entry:\n"
        "	mov	16+8(%rdi), %rsp\n" /* program.stack_top */
        "	xor	%ebp, %ebp\n"
        "	cld\n"
        "	call	interpret\n"
        "	ud2\n"
        /*
         * The landing, which the coordinator copies, with a frame behind it, to
         * where a task makes a system call before there is an interpreter
         * (core/task/landing.c). Who gets beyond the first instruction is an
         * orphan: unmaps r12 bytes if the call mapped them, and moves from here,
         * where the next coordinator may want to land, to a page of its own.
         */
        "landing:\n"
        "	syscall\n"
        "	test	%r12, %r12\n"
        "	jz	1f\n"
        "	test	%rax, %rax\n"
        "	js	1f\n"
        "	mov	%rax, %rdi\n"
        "	mov	%r12, %rsi\n"
        "	mov	$11, %eax\n" /* munmap */
        "	syscall\n"
        "1:	mov	$9, %eax\n" /* mmap */
        "	xor	%edi, %edi\n"
        "	mov	$4096, %esi\n"
        "	mov	$7, %edx\n"
        "	mov	$0x22, %r10d\n" /* MAP_PRIVATE | MAP_ANONYMOUS */
        "	mov	$-1, %r8\n"
        "	xor	%r9d, %r9d\n"
        "	syscall\n"
        "	lea	landing_end(%rip), %rdi\n"
        "	test	%rax, %rax\n"
        "	js	return_to_application\n"
        "	mov	%rax, %rdi\n"
        "	lea	return_to_application(%rip), %rsi\n"
        "	mov	$landing_end - return_to_application + 28 * 8, %ecx\n"
        "	rep movsb\n"
        "	lea	landing_end - return_to_application(%rax), %rdi\n"
        "	jmp	*%rax\n"
        /* Back to the application: rdi = struct frame *. Signals become
         * possible while the stack pointer is the application's, so that
         * handlers run where they would have run. */
        "return_to_application:\n"
        "	mov	%rdi, %rbx\n"
        "	mov	19*8(%rbx), %rsp\n"
        "	mov	$14, %eax\n" /* rt_sigprocmask */
        "	mov	$2, %edi\n"  /* SIG_SETMASK */
        "	lea	27*8(%rbx), %rsi\n"
        "	xor	%edx, %edx\n"
        "	mov	$8, %r10d\n"
        "	syscall\n"
        "	mov	%rbx, %rsp\n"
        "	pop	%r15\n	pop	%r14\n	pop	%r13\n	pop	%r12\n	pop	%rbp\n	pop	%rbx\n"
        "	pop	%r11\n	pop	%r10\n	pop	%r9\n	pop	%r8\n	pop	%rax\n	pop	%rcx\n"
        "	pop	%rdx\n	pop	%rsi\n	pop	%rdi\n"
        "	add	$8, %rsp\n" /* orig_rax */
        "	iretq\n"
        "	.balign	16\n"
        "landing_end:\n"
        "	.text\n");
_Static_assert(__builtin_offsetof(struct program, stack_top) == 24, "see interpreter_entry");
_Static_assert(__builtin_offsetof(struct frame, sigmask) == 27 * 8, "see return_to_application");
_Static_assert(sizeof(struct frame) == 28 * 8, "see return_to_application");

_Noreturn void return_to_application(struct frame *) __attribute__((visibility("hidden")));

static inline int64_t arch_call(uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	int64_t ret;

	__asm__ volatile("syscall" : "=a"(ret)
	                 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return ret;
}

/* clone3; the child takes its stack from its program, so it shares none, and
 * cl_args.stack may be 0. */
static inline int64_t arch_spawn(uint64_t args, uint64_t size, uint64_t program)
{
	register uint64_t child __asm__("r12") = program;
	int64_t ret;

	__asm__ volatile("syscall\n"
	                 "	test	%%rax, %%rax\n"
	                 "	jnz	1f\n"
	                 "	mov	%%r12, %%rdi\n"
	                 "	jmp	interpreter_entry\n"
	                 "1:\n"
	                 : "=a"(ret) : "a"(435), "D"(args), "S"(size), "r"(child)
	                 : "rcx", "r11", "memory");
	return ret;
}

/* Result of the system call the thread was taken from, 0: in none. */
static inline int64_t arch_frame_result(const struct frame *f)
{
	return (int64_t)f->regs[FRAME_ORIG_RAX] < 0 ? 0 : (int64_t)f->regs[FRAME_RAX];
}

static inline void arch_frame_set_result(struct frame *f, int64_t result)
{
	f->regs[FRAME_RAX] = (uint64_t)result;
}

/* Lets it be issued once more; block: continued (restart_syscall). */
static inline void arch_frame_reissue(struct frame *f, int block)
{
	f->regs[FRAME_RIP] -= 2;
	f->regs[FRAME_RAX] = block ? 219 : f->regs[FRAME_ORIG_RAX];
}

#endif
#endif
