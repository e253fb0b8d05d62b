/* SPDX-License-Identifier: Apache-2.0 */
/* See stops.h. */
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "core/task/stops.h"
#include "core/util/util.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif
#define SYSCALL_STOP 0x80 /* PTRACE_O_TRACESYSGOOD */
#define QUICK 40000u          /* ns */
#define FIRST_SLICE 50000u    /* ns */
#define LAST_SLICE 10000000u

int stop_seize(pid_t tid)
{
	/* Without its filter, where we may: it must be able to do what we ask. */
	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP) == 0)
		return 0;
	if (errno != EPERM && errno != EINVAL)
		return -errno;
	return ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD) < 0 ? -errno : 0;
}

int stop_options(pid_t tid, long options)
{
	options |= PTRACE_O_TRACESYSGOOD;
	/* Without its filter, where we may: it must be able to do what we ask. */
	if (ptrace(PTRACE_SETOPTIONS, tid, NULL, options | PTRACE_O_SUSPEND_SECCOMP) &&
	    ptrace(PTRACE_SETOPTIONS, tid, NULL, options))
		return -errno;
	return 0;
}

int stop_ask(pid_t tid)
{
	return ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 ? -errno : 0;
}

bool stop_is_event(int status)
{
	return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP;
}

int stop_signal(int status)
{
	return WIFSTOPPED(status) && status >> 16 == 0 && !(WSTOPSIG(status) & SYSCALL_STOP) ?
	       WSTOPSIG(status) : 0;
}

/* A leader that has ended reports nothing as long as other threads are not reaped. */
bool stop_is_dead(pid_t tid)
{
	char path[32], buf[512];
	cleanup_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	buf[n < 0 ? 0 : n] = '\0';
	char *p = strrchr(buf, ')');
	return n < 0 || (p && p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X'));
}

/*
 * Every stop of a tracee sends SIGCHLD. It is blocked while we look and sleep,
 * so none is missed; slices bound the sleep all the same, because the signal
 * may be ignored by whoever started us, or taken by an earlier wait.
 */
static int sleep_until_change(pid_t tid, uint64_t deadline, int *ret_status)
{
	uint64_t slice = FIRST_SLICE;
	sigset_t child;
	int r;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	while ((r = waitpid(tid, ret_status, __WALL | WNOHANG)) == 0) {
		uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;
		if (!left)
			return 0;
		if (left > slice)
			left = slice;
		struct timespec ts = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
		if (sigtimedwait(&child, NULL, &ts) >= 0)
			continue;
		if (slice < LAST_SLICE)
			slice *= 2;
		else if (stop_is_dead(tid)) {
			errno = ESRCH;
			return -1;
		}
	}
	return r;
}

/* Most stops come within microseconds; to sleep and be woken takes longer. */
static int look_while_it_is_quick(pid_t tid, uint64_t deadline, int *ret_status)
{
	uint64_t end = deadline ? now_ns() + QUICK : 0;
	int r;

	do
		r = waitpid(tid, ret_status, __WALL | WNOHANG);
	while (r == 0 && now_ns() < end);
	return r;
}

int stop_next(pid_t tid, uint64_t deadline, int *ret_status)
{
	sigset_t child, old;
	int r = look_while_it_is_quick(tid, deadline, ret_status);

	if (r == 0 && deadline) {
		sigemptyset(&child);
		sigaddset(&child, SIGCHLD);
		sigprocmask(SIG_BLOCK, &child, &old);
		r = sleep_until_change(tid, deadline, ret_status);
		int e = errno;
		sigprocmask(SIG_SETMASK, &old, NULL);
		errno = e;
	}
	if (r < 0)
		return errno == EINTR ? 0 : -ESRCH;
	return r > 0;
}

int stop_rest(pid_t tid, uint64_t deadline, int *ret_signal)
{
	int status;

	for (;;) {
		int r = stop_next(tid, deadline, &status);
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 || !WIFSTOPPED(status))
			return -ESRCH;
		if (stop_is_event(status)) {
			*ret_signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
			return 0;
		}
		/* This stop has used up the request; repeated now, it acts on the way on. */
		if (stop_ask(tid) < 0 || ptrace(PTRACE_CONT, tid, NULL, stop_signal(status)) < 0)
			return -ESRCH;
	}
}
