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
 * What brings a thread back to the application without a tracer. It lies directly behind
 * a copy of return_to_application, and the thread only reads it. regs is laid out as
 * struct user_regs_struct (sys/user.h).
 */
struct frame {
	uint64_t regs[27];
	uint64_t sigmask;
	uint64_t again_rax, again_rip; /* to issue the interrupted system call once more */
};

/* How it comes back: with its registers, with -EINTR in place of the result, or again_. */
enum comeback { COME_BACK = 0, COME_INTERRUPTED = 1, COME_AGAIN = 2 };

enum { FRAME_RAX = 10, FRAME_ORIG_RAX = 15 };

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
        "	test	%rax, %rax\n"
        "	js	2f\n"
        "	mov	%rax, %rdi\n"
        "	lea	return_to_application(%rip), %rsi\n"
        "	mov	$landing_end - return_to_application + 30 * 8, %ecx\n"
        "	rep movsb\n"
        "	xor	%edi, %edi\n"
        "	jmp	*%rax\n"
        "2:	xor	%edi, %edi\n"
        /*
         * Back to the application: edi = enum comeback, a struct frame behind the last
         * byte. As soon as the mask is open a signal may come at any instruction, and
         * its handler runs on the stack of that moment: the stack pointer is the
         * application's from there on, and flags are not touched. What is left is
         * found relative to the instruction pointer, so no register is needed in the end.
         *
         * Not with rt_sigreturn(2), which sets all of it at once: it ends what
         * restart_syscall(2) would continue with EINTR, and the FPU registers come from memory.
         */
        "	.balign	16\n" /* and so is the frame, which follows a copy */
        "return_to_application:\n"
        "	lea	landing_end(%rip), %rbx\n"
        "	mov	%edi, %r12d\n	shl	$4, %edi\n"
        "	lea	ways(%rip), %rbp\n	add	%rdi, %rbp\n"
        "	mov	$14, %eax\n" /* rt_sigprocmask */
        "	mov	$2, %edi\n"  /* SIG_SETMASK */
        "	lea	27*8(%rbx), %rsi\n"
        "	xor	%edx, %edx\n	mov	$8, %r10d\n"
        "	lea	18*8(%rbx), %rsp\n"
        "	popfq\n	pop	%rsp\n"
        "	syscall\n"
        "	mov	%rbp, %rax\n"
        "	mov	0*8(%rbx), %r15\n	mov	1*8(%rbx), %r14\n	mov	2*8(%rbx), %r13\n"
        "	mov	3*8(%rbx), %r12\n	mov	4*8(%rbx), %rbp\n	mov	6*8(%rbx), %r11\n"
        "	mov	7*8(%rbx), %r10\n	mov	8*8(%rbx), %r9\n	mov	9*8(%rbx), %r8\n"
        "	mov	11*8(%rbx), %rcx\n	mov	12*8(%rbx), %rdx\n	mov	13*8(%rbx), %rsi\n"
        "	mov	14*8(%rbx), %rdi\n	mov	5*8(%rbx), %rbx\n"
        "	jmp	*%rax\n"
        "	.balign	16\n"
        "ways:\n" /* one for each enum comeback, 16 bytes long */
        "	mov	landing_end+10*8(%rip), %rax\n	jmp	*landing_end+16*8(%rip)\n	.balign	16\n"
        "	mov	$-4, %rax\n	jmp	*landing_end+16*8(%rip)\n	.balign	16\n"
        "	mov	landing_end+28*8(%rip), %rax\n	jmp	*landing_end+29*8(%rip)\n	.balign	16\n"
        "landing_end:\n"
        "	.text\n");
_Static_assert(__builtin_offsetof(struct program, stack_top) == 24, "see interpreter_entry");
_Static_assert(__builtin_offsetof(struct frame, sigmask) == 27 * 8, "see return_to_application");
_Static_assert(__builtin_offsetof(struct frame, again_rax) == 28 * 8, "see ways");
_Static_assert(sizeof(struct frame) == 30 * 8, "see landing");

extern const char return_to_application[] __attribute__((visibility("hidden")));
extern const char landing_end[] __attribute__((visibility("hidden")));

/* Back to the application, through the code in front of the frame. */
static inline _Noreturn void come_back(const struct frame *f, enum comeback how)
{
	const char *code = (const char *)f - (landing_end - return_to_application);

	((void (*)(enum comeback))(uintptr_t)code)(how);
	__builtin_unreachable();
}

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

#endif
#endif
