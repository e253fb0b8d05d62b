/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a task, as far as it can be read from outside: /proc/PID and
 * system calls that take a pid, by any thread of ours; the state of its threads by the one
 * that traces them. What only the task can tell is in ask.c.
 */
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/task/task.h"
#include "core/util/util.h"

#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
#endif

/* ---- credentials and what else status shows -------------------------------- */

static uint64_t hex_field(const char *status, const char *key)
{
	const char *v = proc_field(status, key);

	return v ? strtoull(v, NULL, 16) : 0;
}

static void id_fields(const char *status, const char *key, uint32_t *real, uint32_t *effective,
                      uint32_t *saved, uint32_t *fs)
{
	const char *v = proc_field(status, key);

	if (v)
		sscanf(v, "%u %u %u %u", real, effective, saved, fs);
}

static int group_fields(const char *status, Crcore__Creds *c, struct crcore_error *err)
{
	const char *v = proc_field(status, "Groups");
	char *end;

	for (; v && *v != '\n'; v = end) {
		uint32_t gid = (uint32_t)strtoul(v, &end, 10);
		if (end == v)
			break;
		if (!GROW(c->groups, c->n_groups))
			return crcore_no_memory(err);
		c->groups[c->n_groups++] = gid;
		while (*end == ' ')
			end++;
	}
	return 0;
}

int creds_read(const char *status, Crcore__Creds *c, struct crcore_error *err)
{
	crcore__creds__init(c);
	id_fields(status, "Uid", &c->ruid, &c->euid, &c->suid, &c->fsuid);
	id_fields(status, "Gid", &c->rgid, &c->egid, &c->sgid, &c->fsgid);
	c->inheritable = hex_field(status, "CapInh");
	c->permitted = hex_field(status, "CapPrm");
	c->effective = hex_field(status, "CapEff");
	c->bounding = hex_field(status, "CapBnd");
	c->ambient = hex_field(status, "CapAmb");
	c->no_new_privs = hex_field(status, "NoNewPrivs") != 0;
	return group_fields(status, c, err);
}

static int save_creds(const char *status, Crcore__Thread *rec, struct crcore_error *err)
{
	rec->creds = malloc(sizeof(*rec->creds));
	return rec->creds ? creds_read(status, rec->creds, err) : crcore_no_memory(err);
}

/* ---- scheduling -------------------------------------------------------------- */

static int save_sched(pid_t tid, Crcore__Thread *rec, struct crcore_error *err)
{
	unsigned char attr[56] = { 0 }; /* struct sched_attr, sched_setattr(2); begins with its size */
	unsigned char cpus[1024];

	if (syscall(SYS_sched_getattr, tid, attr, sizeof(attr), 0) < 0)
		return crcore_fail(err, -errno, "cannot read the scheduling of thread %d: %s", tid,
		                   strerror(errno));
	long n = syscall(SYS_sched_getaffinity, tid, sizeof(cpus), cpus);
	if (n < 0)
		return crcore_fail(err, -errno, "cannot read the affinity of thread %d: %s", tid,
		                   strerror(errno));
	long prio = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);
	rec->ioprio = prio < 0 ? 0 : (uint32_t)prio;
	rec->sched_attr.data = malloc(sizeof(attr));
	rec->affinity.data = malloc((size_t)n);
	if (!rec->sched_attr.data || !rec->affinity.data)
		return crcore_no_memory(err);
	memcpy(rec->sched_attr.data, attr, rec->sched_attr.len = sizeof(attr));
	memcpy(rec->affinity.data, cpus, rec->affinity.len = (size_t)n);
	return 0;
}

/* ---- threads ----------------------------------------------------------------- */

/* In status a newline and a backslash of the name have a backslash before them. */
static int save_comm(const char *status, Crcore__Thread *rec, struct crcore_error *err)
{
	const char *v = proc_field(status, "Name");
	char *to = rec->comm = strndup(v ? v : "", v ? strcspn(v, "\n") : 0);

	if (!to)
		return crcore_no_memory(err);
	for (const char *from = to; (*to = *from); to++, from++)
		if (*from == '\\' && from[1])
			*to = *++from == 'n' ? '\n' : *from;
	return 0;
}

/* A thread that slept again between the look and its stop (which is a sleep too) has
 * not slept as long as was seen. */
static void check_sleep(struct thread *t, const char *status)
{
	const char *v = proc_field(status, "voluntary_ctxt_switches");

	if (!v || strtoull(v, NULL, 10) > t->sleeps + 1)
		t->slept_ns = 0;
}

/* That of a first thread may have been read just now; another is put into *text. */
static const char *read_status(const struct thread *t, char **text, struct crcore_error *err)
{
	char path[40];

	if (t == t->task->threads && t->task->status)
		return t->task->status;
	snprintf(path, sizeof(path), "task/%d/status", t->tid);
	return proc_read_whole(t->task->proc, path, text, NULL, err) < 0 ? NULL : *text;
}

static int collect_thread(struct thread *t, struct crcore_error *err)
{
	Crcore__Thread *rec = malloc(sizeof(*rec));
	cleanup_free char *text = NULL;
	int r;

	if (!rec)
		return crcore_no_memory(err);
	crcore__thread__init(rec);
	Crcore__Task *task = t->task->rec;
	task->threads[task->n_threads++] = t->rec = rec;
	rec->tid = (uint32_t)t->tid;
	const char *status = read_status(t, &text, err);
	if (!status)
		return err->code;
	if ((r = save_comm(status, rec, err)) < 0 || (r = save_creds(status, rec, err)) < 0 ||
	    (r = save_sched(t->tid, rec, err)) < 0)
		return r;
	t->filtered = hex_field(status, "Seccomp") != 0;
	t->task->abi.filtered += t->filtered;
	check_sleep(t, status);
	return 0;
}

/* ---- timers ------------------------------------------------------------------ */

/* Blocks of "ID: 0\nsignal: 60/00007fff...\nnotify: signal/tid.2634\nClockID: 1\n". */
static int collect_timers(struct task *t, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	int r = proc_read(t->proc, "timers", &text, NULL, err);

	if (r < 0)
		return r;
	for (char *p = text; (p = strstr(p, "ID: ")); ) {
		unsigned id, signo;
		unsigned long long value;
		char how[16], whom[8];
		int who, clock;
		if (sscanf(p, "ID: %u\nsignal: %u/%llx\nnotify: %15[a-z]/%7[a-z].%d\nClockID: %d", &id,
		           &signo, &value, how, whom, &who, &clock) != 7)
			return crcore_fail(err, -EIO, "/proc/PID/timers has an unknown form");
		Crcore__PosixTimer *rec = malloc(sizeof(*rec));
		if (!rec || !GROW(t->rec->timers, t->rec->n_timers)) {
			free(rec);
			return crcore_no_memory(err);
		}
		crcore__posix_timer__init(rec);
		t->rec->timers[t->rec->n_timers++] = rec;
		rec->id = id;
		rec->signo = signo;
		rec->sigval = value;
		rec->clock = clock;
		rec->notify = !strcmp(how, "none") ? SIGEV_NONE : !strcmp(how, "thread") ? SIGEV_THREAD
		                                                                       : SIGEV_SIGNAL;
		if (!strcmp(whom, "tid")) {
			rec->notify |= 4 /* SIGEV_THREAD_ID */;
			rec->tid = (uint32_t)who;
		}
		p = strstr(p, "ClockID: ") + 9;
	}
	return 0;
}

/* ---- the address space -------------------------------------------------------- */

/* A kernel that writes no core files has none. */
static void collect_filter(struct mm *mm)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_free char *text = NULL;

	if (proc_read_whole(mm->task->proc, "coredump_filter", &text, NULL, &ignored) == 0 && *text)
		mm->rec->coredump_filter = 1 + (uint32_t)strtoul(text, NULL, 16);
}

static int collect_mm(struct mm *mm, const struct proc_stat *st, struct crcore_error *err)
{
	Crcore__Mm *rec = mm->rec;
	char *auxv;
	int r = proc_read_whole(mm->task->proc, "auxv", &auxv, &rec->auxv.len, err);

	if (r < 0)
		return r;
	rec->auxv.data = (uint8_t *)auxv;
	rec->start_code = st->start_code;
	rec->end_code = st->end_code;
	rec->start_data = st->start_data;
	rec->end_data = st->end_data;
	rec->start_brk = st->start_brk;
	rec->start_stack = st->start_stack;
	rec->arg_start = st->arg_start;
	rec->arg_end = st->arg_end;
	rec->env_start = st->env_start;
	rec->env_end = st->env_end;
	collect_filter(mm);
	return 0;
}

/* ---- the task ----------------------------------------------------------------- */

static int collect_oom(struct task *t, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	int r = proc_read_whole(t->proc, "oom_score_adj", &text, NULL, err);

	if (r == 0)
		t->rec->oom_score_adj = atoi(text);
	return r;
}

static int collect_living(struct task *t, const struct proc_stat *st, struct crcore_error *err)
{
	int r = collect_oom(t, err);

	t->abi.filtered = 0;
	t->rec->threads = calloc(t->nthreads, sizeof(*t->rec->threads));
	if (r == 0 && !t->rec->threads)
		r = crcore_no_memory(err);
	for (unsigned i = 0; r == 0 && i < t->nthreads; i++)
		r = collect_thread(&t->threads[i], err);
	if (r == 0)
		r = collect_timers(t, err);
	if (r == 0 && t->mm->task == t)
		r = collect_mm(t->mm, st, err);
	return r;
}

int task_collect(struct task *t, struct crcore_error *err)
{
	const struct proc_stat *st = &t->stat;
	int r = t->still ? 0 : proc_stat(t->proc, &t->stat, err);

	if (r < 0)
		goto out;
	Crcore__Task *rec = t->rec;
	rec->pid = (uint32_t)st->pid;
	rec->ppid = (uint32_t)st->ppid;
	rec->pgid = (uint32_t)st->pgid;
	rec->sid = (uint32_t)st->sid;
	rec->exit_signal = (uint32_t)st->exit_signal;
	if (t->abi.state == CRCORE_TASK_ZOMBIE) {
		rec->state = CRCORE__TASK_STATE__ZOMBIE;
		rec->exit_code = (uint32_t)st->exit_code;
		rec->comm = strdup(st->comm);
		r = rec->comm ? 0 : crcore_no_memory(err);
		goto out;
	}
	rec->state = t->abi.state == CRCORE_TASK_STOPPED ? CRCORE__TASK_STATE__STOPPED
	                                                 : CRCORE__TASK_STATE__RUNNING;
	if (t->abi.state == CRCORE_TASK_STOPPED)
		rec->stop_signal = (uint32_t)t->threads[0].stop_signal;
	r = collect_living(t, st, err);
out:
	if (r < 0)
		crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	return r;
}

/* A thread may have its system calls handed to a handler of its own: those that crcore has it
 * make would be, too. That cannot be switched off meanwhile, since nobody would switch it on
 * again should crcore be killed. */
static int refuse_dispatch(const struct thread *t, struct crcore_error *err)
{
	struct { uint64_t mode, selector, offset, len; } c = { 0 }; /* linux/ptrace.h */

	if (ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, t->tid, sizeof(c), &c) < 0 || !c.mode)
		return 0;
	crcore_advise(err, "dump it when it has turned that off (PR_SYS_DISPATCH_OFF)");
	return crcore_fail(err, -ENOTSUP, "thread %d handles its system calls itself "
	                   "(PR_SET_SYSCALL_USER_DISPATCH), which is not saved yet", t->tid);
}

int task_collect_state(struct task *t, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < t->nthreads; i++)
		if ((r = refuse_dispatch(&t->threads[i], err)) == 0)
			r = thread_save_state(&t->threads[i], err);
	if (r < 0)
		crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	return r;
}
