/* SPDX-License-Identifier: Apache-2.0 */
/* A stop that the parent has seen is not reported again; one that it has not seen still is. */
#include "kind.h"

static int child(void *arg)
{
	kind_wait();
	return 0;
}

int main(int argc, char **argv)
{
	pid_t told, untold;
	siginfo_t info;
	int status;

	kind_init(argc, argv);
	told = kind_fork(child, NULL);
	untold = kind_fork(child, NULL);
	CHECK(!kill(told, SIGSTOP));
	CHECK(!kill(untold, SIGSTOP));
	CHECK_EQ(waitpid(told, &status, WUNTRACED), told);
	kind_until_state(untold, untold, 'T');
	kind_ready();
	memset(&info, 0, sizeof(info));
	CHECK(!waitid(P_PID, (id_t)told, &info, WSTOPPED | WNOHANG));
	CHECK_EQ(info.si_pid, 0);
	CHECK(!waitid(P_PID, (id_t)untold, &info, WSTOPPED | WNOHANG));
	CHECK_EQ(info.si_pid, untold);
	CHECK_EQ(info.si_status, SIGSTOP);
	CHECK(!kill(told, SIGCONT) && !kill(untold, SIGCONT));
	kind_join(told);
	kind_join(untold);
	kind_pass();
}
