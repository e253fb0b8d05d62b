/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the filters of every thread, through ptrace, while it is frozen. Most
 * threads have inherited what they have, so most filters are known already.
 */
#include "seccomp.h"

#include <sys/ptrace.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

static long trace(int request, pid_t tid, unsigned long addr, void *data)
{
	return syscall(SYS_ptrace, request, tid, addr, data);
}

/* -- one filter -------------------------------------------------------------------------- */

/* Does it send system calls to a supervisor? That one holds a listener, which is lost. */
static bool asks_supervisor(const struct sock_filter *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (f[i].code == (BPF_RET | BPF_K) &&
		    (f[i].k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF)
			return true;
	return false;
}

static int keep(struct seccomp *s, Seccomp__Filter *rec, uint32_t *ret_id, struct crcore_error *err)
{
	void *more;

	for (unsigned i = 0; i < s->nfilters; i++) {
		const Seccomp__Filter *f = s->filters[i];
		if (f->log == rec->log && f->program.len == rec->program.len &&
		    !memcmp(f->program.data, rec->program.data, f->program.len)) {
			*ret_id = f->id;
			seccomp__filter__free_unpacked(rec, NULL);
			return 0;
		}
	}
	more = realloc(s->filters, (s->nfilters + 1) * sizeof(*s->filters));
	if (!more) {
		seccomp__filter__free_unpacked(rec, NULL);
		return crcore_no_memory(err);
	}
	s->filters = more;
	s->filters[s->nfilters++] = rec;
	*ret_id = rec->id = s->nfilters;
	return 0;
}

static int read_filter(pid_t tid, unsigned index, Seccomp__Filter *rec, struct crcore_error *err)
{
	struct seccomp_metadata meta = { .filter_off = index };
	long n = trace(PTRACE_SECCOMP_GET_FILTER, tid, index, NULL);

	if (n > 0 && n <= BPF_MAXINSNS) {
		rec->program.len = (size_t)n * sizeof(struct sock_filter);
		rec->program.data = malloc(rec->program.len);
		if (!rec->program.data)
			return crcore_no_memory(err);
		n = trace(PTRACE_SECCOMP_GET_FILTER, tid, index, rec->program.data);
	}
	if (n <= 0 || trace(PTRACE_SECCOMP_GET_METADATA, tid, sizeof(meta), &meta) < 0)
		return crcore_fail(err, n < 0 ? -errno : -EIO, "filter %u of its system calls cannot be "
		                   "read: %s", index, strerror(n < 0 ? errno : EIO));
	rec->log = meta.flags & SECCOMP_FILTER_FLAG_LOG;
	if (asks_supervisor((const void *)rec->program.data,
	                    rec->program.len / sizeof(struct sock_filter))) {
		crcore_advise(err, "start it without its supervisor");
		return crcore_fail(err, -ENOTSUP, "a filter sends its system calls to a supervisor "
		                   "(SECCOMP_RET_USER_NOTIF), whose listener cannot be saved");
	}
	return 0;
}

/* -- one thread --------------------------------------------------------------------------- */

static int read_filters(struct seccomp *s, Seccomp__Thread *t, unsigned n, struct crcore_error *err)
{
	t->filters = calloc(n, sizeof(*t->filters));
	if (!t->filters)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < n; i++) {
		Seccomp__Filter *rec = malloc(sizeof(*rec));
		if (!rec)
			return crcore_no_memory(err);
		seccomp__filter__init(rec);
		int r = read_filter((pid_t)t->tid, i, rec, err);
		if (r < 0) {
			seccomp__filter__free_unpacked(rec, NULL);
			return r;
		}
		if ((r = keep(s, rec, &t->filters[t->n_filters], err)) < 0)
			return r;
		t->n_filters++;
	}
	return 0;
}

static int read_thread(struct seccomp *s, pid_t pid, pid_t tid, struct crcore_error *err)
{
	struct thread_status st;
	Seccomp__Thread *t;
	void *more;
	int r = seccomp_status(pid, tid, &st, err);

	if (r < 0)
		return r == -ESRCH ? crcore_fail(err, r, "thread %d was killed meanwhile", (int)tid) : r;
	if (st.mode == MODE_FREE)
		return 0;
	if (st.mode != MODE_STRICT && (st.mode != MODE_FILTER || !st.filters))
		return crcore_fail(err, -ENOTSUP, "thread %d: seccomp mode %d with %u filters is not known "
		                   "here", (int)tid, st.mode, st.filters);
	t = malloc(sizeof(*t));
	more = realloc(s->threads, (s->nthreads + 1) * sizeof(*s->threads));
	if (more)
		s->threads = more;
	if (!t || !more) {
		free(t);
		return crcore_no_memory(err);
	}
	seccomp__thread__init(t);
	s->threads[s->nthreads++] = t;
	t->tid = (uint32_t)tid;
	t->strict = st.mode == MODE_STRICT;
	t->mitigated = st.mitigated;
	return t->strict ? 0 : read_filters(s, t, st.filters, err);
}

int seccomp_ask(void *state, const struct crcore_task *task, struct crcore_program *program,
                struct crcore_error *err)
{
	int r = 0;

	if (CRCORE_HAS(task, filtered) && !task->filtered)
		return 0;
	for (uint32_t k = 0; r == 0 && k < task->nthreads; k++)
		r = read_thread(state, task->pid, task->tids[k], err);
	if (r < 0)
		crcore_fail_at(err, task->pid, -1, "task %s", task->comm);
	return r;
}

/* -- records -------------------------------------------------------------------------------- */

int seccomp_save(void *state, struct crcore_error *err)
{
	struct seccomp *s = state;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->nfilters; i++)
		r = record_put(s->host, s->ctx, "filter", &s->filters[i]->base, err);
	for (unsigned i = 0; r == 0 && i < s->nthreads; i++)
		r = record_put(s->host, s->ctx, "thread", &s->threads[i]->base, err);
	return r;
}
