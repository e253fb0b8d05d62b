/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of system calls for tests, of a few instructions. */
#ifndef KIND_SECCOMP_H
#define KIND_SECCOMP_H

#include "kind.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

static inline int install_filter(struct sock_filter *f, unsigned n, unsigned flags)
{
	struct sock_fprog prog = { (unsigned short)n, f };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

/* The call gives this errno from now on. */
static inline int forbid(long nr, int error, unsigned flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return install_filter(f, 4, flags);
}

/* Every call but these ends the process. */
static inline int allow_only(const long *nr, unsigned n, unsigned flags)
{
	struct sock_filter f[64] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	unsigned k = 1;

	for (unsigned i = 0; i < n; i++) {
		f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr[i], 0, 1);
		f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	return install_filter(f, k, flags);
}

static inline bool forbidden(long nr, int error)
{
	errno = 0;
	return syscall(nr) == -1 && errno == error;
}
#endif
