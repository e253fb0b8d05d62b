/* SPDX-License-Identifier: Apache-2.0 */
/* Zombies keep their pids and their ends: exit statuses, deaths by signals, of
 * children and of grandchildren. */
#include "kind.h"

static int leave_with(void *arg)
{
	return (int)(long)arg;
}

static int die_of(void *arg)
{
	kill(getpid(), (int)(long)arg);
	pause();
	return 0;
}

static int with_zombie(void *arg)
{
	siginfo_t info;
	pid_t child = kind_fork(leave_with, (void *)7L);

	kind_until_state(child, child, 'Z');
	*(volatile int *)arg = 1;
	kind_wait();
	CHECK(!waitid(P_PID, (id_t)child, &info, WEXITED));
	CHECK_EQ(info.si_pid, child);
	CHECK_EQ(info.si_code, CLD_EXITED);
	CHECK_EQ(info.si_status, 7);
	return 0;
}

int main(int argc, char **argv)
{
	volatile int *ready;
	pid_t pid[6], parent;
	int want[6] = { 0, 3 << 8, 255 << 8, SIGKILL, SIGTERM, SIGUSR1 }, status;

	kind_init(argc, argv);
	ready = kind_shared(4096);
	for (int i = 0; i < 3; i++)
		pid[i] = kind_fork(leave_with, (void *)(long)(want[i] >> 8));
	for (int i = 3; i < 6; i++)
		pid[i] = kind_fork(die_of, (void *)(long)want[i]);
	parent = kind_fork(with_zombie, (void *)ready);
	for (int i = 0; i < 6; i++)
		kind_until_state(pid[i], pid[i], 'Z');
	kind_until(ready, 1);
	kind_ready();
	for (int i = 5; i >= 0; i--) {
		CHECK_EQ(waitpid(pid[i], &status, 0), pid[i]);
		CHECK_EQ(status, want[i]);
	}
	kind_join(parent);
	CHECK(waitpid(-1, &status, 0) < 0 && errno == ECHILD);
	kind_pass();
}
