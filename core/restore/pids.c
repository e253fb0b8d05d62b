/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every number that the tree will use, as pid, tid, group or session, must be
 * free. One that a zombie holds becomes free when its parent reaps it: that is
 * waited for, for a while. One that something alive holds is refused.
 */
#include <fcntl.h>
#include "core/restore/restore.h"
#include "core/task/task.h"

#define OWN_MAX 1000 /* more than we make ourselves while a tree is built */

struct numbers { pid_t *v; unsigned n; };

static int add(struct numbers *s, pid_t n, struct crcore_error *err)
{
	if (!GROW(s->v, s->n))
		return crcore_no_memory(err);
	s->v[s->n++] = n;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

/* Pids, tids and the numbers of helpers; groups and sessions are among them. */
static int collect(struct restore *r, struct numbers *s, struct crcore_error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < r->births.n && ret == 0; i++)
		if (r->births.v[i].pid)
			ret = add(s, r->births.v[i].pid, err);
	for (unsigned i = 0; i < r->rec.ntasks; i++)
		for (size_t k = 1; k < r->rec.tasks[i]->n_threads && ret == 0; k++)
			ret = add(s, (pid_t)r->rec.tasks[i]->threads[k]->tid, err);
	qsort(s->v, s->n, sizeof(*s->v), by_number);
	return ret;
}

/* Any file: something whose owner can be set. */
static int open_probe(struct crcore_error *err)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : crcore_fail(err, -errno, "cannot open /: %s", strerror(errno));
}

/* As a pid, a tid, a process group or a session. An owner is looked for by number alone: kill(2)
 * would not find a task that was just reaped, whose number the kernel gives free a while later. */
static bool is_taken(int probe, pid_t n)
{
	return fcntl(probe, F_SETOWN, n) == 0 || errno != ESRCH;
}

/* ---- who has it? --------------------------------------------------------------------------- */

struct holder { struct proc_stat stat; const char *as; };

static bool read_stat(pid_t pid, struct proc_stat *ret)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_close int proc = proc_open(pid, &ignored);

	return proc >= 0 && proc_stat(proc, ret, &ignored) == 0;
}

/* Looks through all processes, by group and session: a zombie only if nobody is alive. */
static bool find_member(pid_t n, struct holder *ret)
{
	cleanup_dir DIR *d = opendir("/proc");
	struct proc_stat st;
	struct dirent *e;
	bool found = false;

	while (d && (!found || ret->stat.state == 'Z') && (e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);
		if (pid <= 0 || !read_stat(pid, &st) || (st.pgid != n && st.sid != n))
			continue;
		*ret = (struct holder){ st, st.pgid == n ? "process group" : "session" };
		found = true;
	}
	return found;
}

static bool find_holder(pid_t n, struct holder *ret)
{
	if (read_stat(n, &ret->stat)) {
		ret->as = ret->stat.pid == n ? "pid" : "thread id";
		return true;
	}
	return find_member(n, ret);
}

static int refuse(pid_t n, const struct holder *h, const char *why, struct crcore_error *err)
{
	crcore_fail_at(err, n, -1, "number %d", n);
	crcore_advise(err, "end that process, or restore in a new pid namespace (unshare --pid --fork "
	              "--mount-proc)");
	return crcore_fail(err, -EEXIST, "is the %s of process %d (%s)%s", h->as, h->stat.pid,
	                   h->stat.comm, why);
}

void pids_explain(struct restore *r, pid_t pid, struct crcore_error *err)
{
	struct holder h;

	if (find_holder(pid, &h))
		refuse(pid, &h, "", err);
}

/* ---- the check ------------------------------------------------------------------------------- */

static int wait_free(int probe, pid_t n, uint64_t deadline, struct crcore_error *err)
{
	struct timespec pause = { 0, 500000 };
	struct holder h = { 0 };

	while (is_taken(probe, n)) {
		int ret = worker_check(err);
		if (ret < 0)
			return ret;
		if (find_holder(n, &h)) {
			if (h.stat.state != 'Z' && h.stat.state != 'X')
				return refuse(n, &h, "", err);
			if (now_ns() >= deadline)
				return refuse(n, &h, ", a zombie that its parent does not reap", err);
		} else if (now_ns() >= deadline) {
			crcore_fail_at(err, n, -1, "number %d", n);
			return crcore_fail(err, -EEXIST, "is taken, /proc does not say by whom");
		}
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 20000000)
			pause.tv_nsec *= 2;
	}
	return 0;
}

static int pid_max(void)
{
	cleanup_file FILE *f = fopen("/proc/sys/kernel/pid_max", "re");
	int v;

	return f && fscanf(f, "%d", &v) == 1 ? v : 32768;
}

/* Processes and threads of our own (a pager, feeders) are numbered by the kernel, which counts
 * upwards: in a namespace that is new it would give them numbers of the tree, so it goes on behind
 * those. Where it cannot be told, a collision is an error of whoever is cloned. */
static void step_over(const struct numbers *s, int max)
{
	cleanup_close int fd = open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	char text[16] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return;
	const int last = atoi(text);
	int next = last;
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i] > next && s->v[i] <= next + OWN_MAX)
			next = s->v[i];
	if (next > last && next + OWN_MAX < max)
		(void)!pwrite(fd, text, (size_t)snprintf(text, sizeof(text), "%d", next), 0);
}

int pids_check(struct restore *r, struct crcore_error *err)
{
	struct numbers s = { 0 };
	const struct crcore_value *wait = policy_core(r->cmd->policy, "restore.pid-wait");
	uint64_t deadline = now_ns() + (uint64_t)(wait ? wait->i : 0);
	const int max = pid_max();
	cleanup_close int probe = open_probe(err);
	int ret = probe < 0 ? probe : collect(r, &s, err);

	for (unsigned i = 0; i < s.n && ret == 0; i++) {
		if (s.v[i] >= max) {
			crcore_fail_at(err, s.v[i], -1, "pid %d", s.v[i]);
			crcore_advise(err, "raise /proc/sys/kernel/pid_max");
			ret = crcore_fail(err, -ERANGE, "is above the largest pid here (%d)", max - 1);
		} else if (is_taken(probe, s.v[i])) {
			ret = wait_free(probe, s.v[i], deadline, err);
		}
	}
	if (ret == 0)
		step_over(&s, max);
	free(s.v);
	return ret;
}

/* Helpers, whose number does not matter, get one from the upper end,
 * where the kernel, which counts upwards, is not likely to be soon. */
pid_t pids_free(struct restore *r)
{
	pid_t at = r->free_below - 1;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_close int probe = r->only_plan ? -1 : open_probe(&ignored);

	while (at > 1 && (bsearch(&at, r->numbers, r->nnumbers, sizeof(at), by_number) ||
	                  (probe >= 0 && is_taken(probe, at))))
		at--;
	return r->free_below = at;
}

int pids_choose(struct restore *r, struct crcore_error *err)
{
	struct numbers s = { 0 };
	int ret = collect(r, &s, err);

	r->numbers = s.v;
	r->nnumbers = s.n;
	r->free_below = pid_max();
	for (unsigned i = 0; i < r->births.n && ret == 0; i++)
		if (!r->births.v[i].pid)
			r->births.v[i].pid = pids_free(r);
	return ret;
}
