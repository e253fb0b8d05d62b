/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: kills the process of crcore that works (SIGKILL) at the CRCORE_KILL_AT-th setsockopt() since
 * the first one that turns repair mode on, or when it has just received descriptors for the
 * CRCORE_KILL_TAKEN-th time. So a test can stop crcore at every single
 * place in between, which no random moment would find. CRCORE_TERM_AT: instead the thread that is
 * to go on to its next system call (PTRACE_SYSCALL) gets a SIGTERM just before, the n-th time.
 * CRCORE_KILL_CONT: it is killed when it has let a thread go on (PTRACE_CONT) for the n-th time.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REPAIR 19

static bool works(void)
{
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	return strcmp(name, "cr-worker") == 0;
}

__attribute__((visibility("default")))
int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	static unsigned n;
	static bool counting;
	const char *at = getenv("CRCORE_KILL_AT");

	counting |= level == IPPROTO_TCP && option == REPAIR;
	if (counting && at && works() && ++n == (unsigned)atoi(at))
		kill(getpid(), SIGKILL);
	return (int)syscall(SYS_setsockopt, fd, level, option, value, len);
}

__attribute__((visibility("default")))
ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	static unsigned n;
	const char *at = getenv("CRCORE_KILL_TAKEN");
	ssize_t r = syscall(SYS_recvmsg, fd, m, flags);
	struct cmsghdr *c = r > 0 ? CMSG_FIRSTHDR(m) : NULL;

	if (c && c->cmsg_type == SCM_RIGHTS && at && works() && ++n == (unsigned)atoi(at))
		kill(getpid(), SIGKILL);
	return r;
}

/* As libc's, but for PTRACE_PEEK*, which crcore has no use for. */
__attribute__((visibility("default")))
long ptrace(enum __ptrace_request request, ...)
{
	static unsigned calls, conts;
	const char *at = getenv("CRCORE_TERM_AT"), *kill_at = getenv("CRCORE_KILL_CONT");
	va_list args;

	va_start(args, request);
	pid_t pid = va_arg(args, pid_t);
	void *addr = va_arg(args, void *), *data = va_arg(args, void *);
	va_end(args);
	if (request == PTRACE_SYSCALL && at && ++calls == (unsigned)atoi(at))
		kill(pid, SIGTERM);
	long r = syscall(SYS_ptrace, request, pid, addr, data);
	if (request == PTRACE_CONT && kill_at && works() && ++conts == (unsigned)atoi(kill_at))
		kill(getpid(), SIGKILL);
	return r;
}
