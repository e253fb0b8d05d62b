/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a half-built tree back. The stubs' own operations say whom they have
 * cloned; a clone that was just under way when its creator was killed shows by
 * its number, which was free before, and by its parent. Only such tasks are
 * killed, never one that merely has a pid of ours; should one be missed, it ends
 * itself, because the region says that it was abandoned.
 */
#include <signal.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"
#include "core/task/task.h"

#define ROUNDS 50

static bool is_one_of_us(const struct restore *r, pid_t parent)
{
	if (parent == r->worker->main)
		return true;
	for (unsigned i = 0; i < r->births.n; i++)
		if (r->births.v[i].pid == parent)
			return true;
	return false;
}

/* Is there a task of ours with this number that still lives? */
static bool is_alive(const struct restore *r, unsigned birth)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct proc_stat st;
	pid_t pid = r->births.v[birth].pid;
	cleanup_close int proc = proc_open(pid, &ignored);

	if (proc < 0 || proc_stat(proc, &st, &ignored) < 0 || st.state == 'Z' || st.state == 'X')
		return false;
	return born_pid(r, birth) == pid || is_one_of_us(r, st.ppid);
}

void restore_kill(struct restore *r)
{
	struct timespec pause = { 0, 1000000 };
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	unsigned alive = 1;

	if (!r->root_asked || !r->stubs)
		return;
	arena_abandon(&r->arena);
	/* Killed tasks clone no more: when nobody is left, nobody comes. */
	for (unsigned round = 0; round < ROUNDS && alive; round++) {
		alive = 0;
		for (unsigned i = 0; i < r->births.n; i++)
			if (is_alive(r, i)) {
				kill(r->births.v[i].pid, SIGKILL);
				alive++;
			}
		if (alive && r->paused)
			host_wake(r->host, CRCORE_WAKE_END, &ignored);
		if (alive)
			nanosleep(&pause, NULL);
	}
	if (alive)
		log_line(1, "%u tasks of the failed restore do not end", alive);
}
