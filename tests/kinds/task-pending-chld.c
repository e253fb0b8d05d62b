/* SPDX-License-Identifier: Apache-2.0 */
/* A blocked SIGCHLD of a zombie stays queued once, with the siginfo of that child, and
 * no other one appears. */
#include "kind.h"

static int child(void *arg)
{
	return 9;
}

static int live(void *arg)
{
	kind_wait();
	return 0;
}

int main(int argc, char **argv)
{
	siginfo_t info;
	sigset_t set;
	int status;
	pid_t pid, other;

	kind_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	pid = kind_fork(child, NULL);
	kind_until_state(pid, pid, 'Z');
	other = kind_fork(live, NULL);
	kind_ready();
	CHECK_EQ(sigtimedwait(&set, &info, &(struct timespec){ 0 }), SIGCHLD);
	CHECK_EQ(info.si_pid, pid);
	CHECK_EQ(info.si_status, 9);
	CHECK_EQ(info.si_code, CLD_EXITED);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 9 << 8);
	kind_join(other);
	kind_pass();
}
