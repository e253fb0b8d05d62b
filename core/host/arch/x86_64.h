/* SPDX-License-Identifier: Apache-2.0 */
/* What the time limit of hooks must know of the processor: where a signal came upon the thread. */
#ifndef CRCORE_HOST_ARCH_X86_64_H
#define CRCORE_HOST_ARCH_X86_64_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

static inline uintptr_t arch_signal_ip(const ucontext_t *uc)
{
	return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
}

/* The signal ended a system call that waited, or let it be restarted. */
static inline bool arch_signal_was_waiting(const ucontext_t *uc)
{
	const unsigned char *code = (const unsigned char *)arch_signal_ip(uc);
	long long rax = uc->uc_mcontext.gregs[REG_RAX];

	if (!memcmp(code - 2, "\x0f\x05", 2)) /* behind it: its result */
		return rax == -EINTR;
	if (memcmp(code, "\x0f\x05", 2)) /* in front of it: its number */
		return false;
	return rax != SYS_mmap && rax != SYS_munmap && rax != SYS_mremap && rax != SYS_mprotect &&
	       rax != SYS_madvise && rax != SYS_brk; /* those are malloc's */
}
#endif
