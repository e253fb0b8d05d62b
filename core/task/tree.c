/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of tasks below a root, as /proc shows it: which there are, their
 * threads and children. Looks only; freeze.c uses the same pieces while it
 * stops them.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include "core/task/task.h"
#include "core/task/tree.h"
#include "core/util/util.h"

/* include/linux/sched.h in the kernel */
#define PF_KTHREAD 0x00200000u
#define PF_KERNEL_WORKER 0x00004010u /* PF_USER_WORKER, PF_IO_WORKER */

#define EXEC_TRIES 200 /* 1 ms each */

void task_free(struct task *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->nthreads; i++) {
		prog_free(t->threads[i].ask);
		asked_free(t->threads[i].asked);
	}
	if (t->rec)
		crcore__task__free_unpacked(t->rec, NULL);
	if (t->pidfd >= 0)
		close(t->pidfd);
	if (t->proc >= 0)
		close(t->proc);
	free(t->threads);
	free(t->status);
	free(t->tids);
	free(t);
}

void tree_free(struct tree *tree)
{
	for (unsigned i = 0; i < tree->ntasks; i++)
		task_free(tree->tasks[i]);
	for (unsigned i = 0; i < tree->nmms; i++) {
		free(tree->mms[i]->uses);
		free(tree->mms[i]->policies);
		crcore__mm__free_unpacked(tree->mms[i]->rec, NULL);
		free(tree->mms[i]);
	}
	free(tree->tasks);
	free(tree->slots);
	free(tree->mms);
	*tree = (struct tree){ 0 };
}

/* ---- one task -------------------------------------------------------------------- */

static int refuse_self(pid_t pid, struct crcore_error *err)
{
	if (pid != getpid() && pid != getppid())
		return 0;
	crcore_fail_at(err, pid, -1, "task %d", pid);
	crcore_advise(err, "start crcore from outside the tree, e.g. from another terminal");
	return crcore_fail(err, -EINVAL, "crcore itself is part of the tree");
}

/* The process that the thread belongs to, 0: it has ended. */
static pid_t leader_of(const struct task *t)
{
	cleanup_free char *status = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const char *leader = NULL;

	if (proc_read_whole(t->proc, "status", &status, NULL, &ignored) == 0)
		leader = proc_field(status, "Tgid");
	return leader ? atoi(leader) : 0;
}

static int open_pidfd(struct task *t, struct crcore_error *err)
{
	pid_t pid = t->abi.pid, leader = pid;

	/* One that calls exec while others run has no leader for a moment. */
	for (int i = 0; leader == pid && i < EXEC_TRIES; i++) {
		t->pidfd = t->abi.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (t->pidfd >= 0)
			return 0;
		if (errno == EMFILE || errno == ENFILE)
			return crcore_fail(err, -errno, "cannot open it: %s", strerror(errno));
		if (i)
			usleep(1000);
		leader = leader_of(t);
	}
	crcore_fail_at(err, pid, -1, "task %d", pid);
	if (!leader || leader == pid)
		return crcore_fail(err, -ESRCH, "it has ended");
	crcore_advise(err, "name the process: -t %d", leader);
	return crcore_fail(err, -EINVAL, "it is a thread of process %d", leader);
}

static int refuse_kernel_thread(const struct task *t, struct crcore_error *err)
{
	crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	crcore_advise(err, "name a process of user space");
	return crcore_fail(err, -ENOTSUP, "it is a kernel thread");
}

int task_open(pid_t pid, struct task *parent, struct task **ret, struct crcore_error *err)
{
	struct task *t = calloc(1, sizeof(*t));
	int r = refuse_self(pid, err);

	if (r < 0 || !t) {
		free(t);
		return r < 0 ? r : crcore_no_memory(err);
	}
	t->abi.size = sizeof(t->abi);
	t->abi.pid = pid;
	t->parent = parent;
	t->pidfd = t->abi.pidfd = -1;
	t->proc = proc_open(pid, err);
	t->rec = malloc(sizeof(*t->rec));
	if (t->rec)
		crcore__task__init(t->rec);
	if (t->proc < 0)
		r = t->proc;
	else if (!t->rec)
		r = crcore_no_memory(err);
	else if ((r = open_pidfd(t, err)) == 0)
		r = task_refresh(t, err);
	t->fresh = true;
	if (r < 0) {
		task_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

int task_refresh(struct task *t, struct crcore_error *err)
{
	struct proc_stat *st = &t->stat;
	int r = proc_stat(t->proc, st, err);

	/* Dead and gone, or in the middle of giving its place to a thread that calls exec. */
	for (int i = 0; r == 0 && st->state == 'X' && i < EXEC_TRIES; i++) {
		usleep(1000);
		r = proc_stat(t->proc, st, err);
	}
	if (r < 0)
		return r;
	t->abi.ppid = st->ppid;
	t->abi.pgid = st->pgid;
	t->abi.sid = st->sid;
	unsigned dev = (unsigned)st->tty_nr;
	t->session_dev = makedev(dev >> 8 & 0xfff, (dev & 0xff) | (dev >> 12 & 0xfff00));
	snprintf(t->comm, sizeof(t->comm), "%s", st->comm);
	t->abi.comm = t->comm;
	t->abi.state = st->state == 'T' ? CRCORE_TASK_STOPPED : CRCORE_TASK_RUNNING;
	if (st->state == 'X')
		return crcore_fail(err, -ESRCH, "it has ended");
	if (st->flags & PF_KTHREAD)
		return refuse_kernel_thread(t, err);
	t->alone = st->num_threads == 1;
	t->leaderless = st->state == 'Z' && st->num_threads > 1;
	if (st->state == 'Z' && !t->leaderless)
		t->abi.state = CRCORE_TASK_ZOMBIE;
	return 0;
}

int task_refuse_leaderless(const struct task *t, struct crcore_error *err)
{
	crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	crcore_advise(err, "let its first thread live on");
	return crcore_fail(err, -ENOTSUP, "its first thread has ended while others run");
}

/* Its own number is that of its only thread. */
static int only_thread(const struct task *t, pid_t **ret, unsigned *ret_n)
{
	*ret = malloc(sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)[0] = t->abi.pid;
	*ret_n = 1;
	return 0;
}

/*
 * A thread that the kernel made to work for the task. It executes nothing of the
 * program, and ends with it or when there is no work, so there is nothing to save; to
 * stop it would be to stop its work. It has no robust list, as all threads of libc do;
 * to ask for that takes a hundredth of the time that stat takes.
 */
static bool is_kernel_worker(const struct task *t, pid_t tid)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	void *robust = NULL;
	size_t len;
	char path[32];
	unsigned flags = 0;

	if (syscall(SYS_get_robust_list, tid, &robust, &len) == 0 && robust)
		return false;
	snprintf(path, sizeof(path), "task/%d/stat", tid);
	if (proc_read_whole(t->proc, path, &text, NULL, &ignored) < 0)
		return false;
	const char *end = strrchr(text, ')');
	return end && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       (flags & PF_KERNEL_WORKER) == PF_KERNEL_WORKER;
}

/* From *at on, where it is left: they are asked for in the order in which they are known. */
static const struct thread *known_thread(const struct task *t, pid_t tid, unsigned *at)
{
	for (unsigned n = t->nthreads; n; n--) {
		*at = *at < t->nthreads ? *at : 0;
		if (t->threads[*at].tid == tid)
			return &t->threads[*at];
		++*at;
	}
	return NULL;
}

int task_threads(struct task *t, struct crcore_error *err)
{
	unsigned kept = 0, at = 0;
	pid_t *tids;
	unsigned n;
	int r;

	if (t->abi.state == CRCORE_TASK_ZOMBIE)
		return 0;
	r = t->alone ? only_thread(t, &tids, &n) : proc_tids(t->proc, t->abi.pid, &tids, &n, err);
	if (r < 0)
		return r == -ENOMEM ? crcore_no_memory(err) : r;
	struct thread *threads = calloc(n, sizeof(*threads));
	if (!threads) {
		free(tids);
		return crcore_no_memory(err);
	}
	for (unsigned i = 0; i < n; i++) {
		const struct thread *known = known_thread(t, tids[i], &at);
		if (!known && tids[i] != t->abi.pid && is_kernel_worker(t, tids[i]))
			continue;
		if (known)
			threads[kept] = *known;
		threads[kept].tid = tids[kept] = tids[i];
		threads[kept++].task = t;
	}
	free(t->threads);
	free(t->tids);
	t->threads = threads;
	t->tids = tids;
	t->nthreads = t->abi.nthreads = kept;
	t->abi.tids = tids;
	return 0;
}

/* ---- the tree ---------------------------------------------------------------------- */

int tree_add(struct tree *tree, struct task *t, struct crcore_error *err)
{
	if (!GROW(tree->tasks, tree->ntasks)) {
		task_free(t);
		return crcore_no_memory(err);
	}
	t->abi.index = tree->ntasks;
	tree->tasks[tree->ntasks++] = t;
	return tree_note(tree, err);
}

/* A task that ended is a zombie, unless it was reaped at once: then there is
 * nothing to save. */
void tree_drop_reaped(struct tree *tree)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		struct crcore_error gone = CRCORE_ERROR_INIT;
		if (i > 0 && !t->nthreads && task_refresh(t, &gone) < 0) {
			task_free(t);
			continue;
		}
		t->abi.index = n;
		tree->tasks[n++] = t;
	}
	if (n == tree->ntasks)
		return;
	tree->ntasks = n;
	tree_note_again(tree);
}

void tree_set_states(struct tree *tree)
{
	for (unsigned i = 0; i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		if (!t->nthreads)
			t->abi.state = CRCORE_TASK_ZOMBIE;
		else
			t->abi.state = t->threads[0].group_stop ? CRCORE_TASK_STOPPED : CRCORE_TASK_RUNNING;
		t->abi.nthreads = t->nthreads;
		t->abi.tids = t->tids;
	}
}
