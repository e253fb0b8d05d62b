/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All or nothing at the very end: the tasks of a restored tree die with their tracer
 * (PTRACE_O_EXITKILL) until each is told otherwise, one after the other. Should we be
 * killed in the middle of that, those that would live on are ended: by a last will, like
 * those that take back what was made for the tree. All wills are void at once. What is left
 * to do outside then, the heir (host.h) does.
 */
#include <signal.h>
#include "core/restore/restore.h"

static void end_all(const void *bytes, size_t len)
{
	const pid_t *pids = bytes;

	for (size_t i = 0; i < len / sizeof(*pids); i++)
		kill(pids[i], SIGKILL);
}

static void finish(void *arg)
{
	const struct restore *r = arg;

	if (__atomic_load_n(&r->fate->kept, __ATOMIC_SEQ_CST)) {
		host_undo(r->host, true);
		return;
	}
	for (unsigned i = 0; i < r->births.n; i++)
		if (is_live(&r->stubs[i]))
			kill(r->births.v[i].pid, SIGKILL);
}

int pact_begin(struct restore *r, struct crcore_error *err)
{
	const bool heir = host_undo_waits(r->host);
	size_t n = 0;
	int ret = heir ? host_heir(r->host, finish, NULL, r, err) : 0;

	/* The threads of one process die together. */
	if (ret < 0 || (!r->host->wills && (heir || r->births.n < 2)))
		return ret;
	cleanup_free pid_t *pids = calloc(r->births.n, sizeof(*pids));
	if (!pids)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->births.n; i++)
		if (is_live(&r->stubs[i]))
			pids[n++] = r->births.v[i].pid;
	return host_will(r->host, WILL_FIRST, end_all, pids, n * sizeof(*pids), err);
}
