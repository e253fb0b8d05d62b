/* SPDX-License-Identifier: Apache-2.0 */
/* The signal that the parent gets when a child ends: other than SIGCHLD, and none. */
#include "kind.h"
#include <sched.h>
#include <sys/mman.h>

enum { STACK = 65536 };

static int child(void *arg)
{
	kind_wait();
	return (int)(long)arg;
}

static pid_t start(int sig, long status)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	CHECK(stack != MAP_FAILED);
	pid = clone(child, stack + STACK, sig, (void *)status);
	CHECK(pid > 0);
	return pid;
}

int main(int argc, char **argv)
{
	pid_t loud, silent;
	siginfo_t info;
	sigset_t set;
	int status;

	kind_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	loud = start(SIGUSR1, 1);
	silent = start(0, 2);
	kind_ready();
	CHECK_EQ(waitpid(silent, &status, __WALL), silent);
	CHECK_EQ(status, 2 << 8);
	CHECK_EQ(sigwaitinfo(&set, &info), SIGUSR1);
	CHECK_EQ(info.si_pid, loud);
	CHECK_EQ(waitpid(loud, &status, __WALL), loud);
	CHECK_EQ(status, 1 << 8);
	CHECK(sigtimedwait(&set, &info, &(struct timespec){ 0 }) < 0 && errno == EAGAIN);
	kind_pass();
}
