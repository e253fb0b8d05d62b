/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: each thread installs its filters as the last that it does. What all
 * threads of a process have in common its leader installs for all
 * (SECCOMP_FILTER_FLAG_TSYNC), so that it is one and the same chain again, as the
 * kernel demands of threads that later install one for all.
 */
#include "seccomp.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include "plugins/args.h"

#define CHAIN_MAX 32768 /* instructions of a thread's filters; the kernel counts 4 more for each */

static int load_filter(struct seccomp *s, const void *msg, size_t len, struct crcore_error *err)
{
	Seccomp__Filter *rec = seccomp__filter__unpack(NULL, len, msg);
	void *more = rec ? realloc(s->filters, (s->nfilters + 1) * sizeof(*s->filters)) : NULL;

	if (!more) {
		if (rec)
			seccomp__filter__free_unpacked(rec, NULL);
		return rec ? crcore_no_memory(err) :
		       crcore_fail(err, -EBADMSG, "a record of section filter is damaged");
	}
	s->filters = more;
	s->filters[s->nfilters++] = rec;
	if (rec->id != s->nfilters || !rec->program.len ||
	    rec->program.len % sizeof(struct sock_filter) ||
	    rec->program.len > BPF_MAXINSNS * sizeof(struct sock_filter))
		return crcore_fail(err, -EBADMSG, "a record of section filter makes no sense");
	return 0;
}

static int load_thread(struct seccomp *s, const void *msg, size_t len, struct crcore_error *err)
{
	Seccomp__Thread *rec = seccomp__thread__unpack(NULL, len, msg);
	void *more = rec ? realloc(s->threads, (s->nthreads + 1) * sizeof(*s->threads)) : NULL;

	if (!more) {
		if (rec)
			seccomp__thread__free_unpacked(rec, NULL);
		return rec ? crcore_no_memory(err) :
		       crcore_fail(err, -EBADMSG, "a record of section thread is damaged");
	}
	s->threads = more;
	s->threads[s->nthreads++] = rec;
	return 0;
}

int seccomp_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *err)
{
	return !strcmp(section, "filter") ? load_filter(state, msg, len, err)
	                                  : load_thread(state, msg, len, err);
}

/* -- check ------------------------------------------------------------------------------------ */

static int by_tid(const void *a, const void *b)
{
	const Seccomp__Thread *x = *(Seccomp__Thread *const *)a, *y = *(Seccomp__Thread *const *)b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

static const Seccomp__Thread *find(const struct seccomp *s, pid_t tid)
{
	Seccomp__Thread key = { .tid = (uint32_t)tid }, *p = &key, **hit = NULL;

	if (s->nthreads)
		hit = bsearch(&p, s->threads, s->nthreads, sizeof(*s->threads), by_tid);
	return hit ? *hit : NULL;
}

static bool is_valid(const struct seccomp *s, const Seccomp__Thread *t)
{
	size_t total = 0;

	if (!t->tid || t->strict == (t->n_filters > 0))
		return false;
	for (size_t i = 0; i < t->n_filters; i++) {
		if (!t->filters[i] || t->filters[i] > s->nfilters)
			return false;
		total += s->filters[t->filters[i] - 1]->program.len / sizeof(struct sock_filter);
	}
	return total <= CHAIN_MAX;
}

int seccomp_check(void *state, struct crcore_error *err)
{
	struct seccomp *s = state;

	if (s->nthreads)
		qsort(s->threads, s->nthreads, sizeof(*s->threads), by_tid);
	for (unsigned i = 0; i < s->nthreads; i++)
		if (!is_valid(s, s->threads[i]) || (i && s->threads[i - 1]->tid == s->threads[i]->tid))
			return crcore_fail(err, -EBADMSG, "the record of thread %u makes no sense",
			                   s->threads[i]->tid);
	return s->nthreads ? seccomp_may(err) : 0;
}

/* -- emit ------------------------------------------------------------------ */

/* How many filters all threads of the task have in common, from the first on. */
static size_t in_common(const struct seccomp *s, const struct crcore_task *task)
{
	const Seccomp__Thread *first = find(s, task->tids[0]);
	size_t n = first && task->nthreads > 1 ? first->n_filters : 0;

	for (uint32_t k = 1; n && k < task->nthreads; k++) {
		const Seccomp__Thread *t = find(s, task->tids[k]);
		size_t same = 0;
		while (t && same < n && same < t->n_filters && t->filters[same] == first->filters[same])
			same++;
		n = same;
	}
	return n;
}

static void install(struct seccomp *s, const Seccomp__Thread *t, size_t index, bool for_all,
                    struct crcore_program *p)
{
	const Seccomp__Filter *f = s->filters[t->filters[index] - 1];
	struct sock_fprog fprog = { .len = (uint16_t)(f->program.len / sizeof(struct sock_filter)) };
	const uint32_t head = s->host->data(p, &fprog, sizeof(fprog));
	const uint64_t flags = (f->log ? SECCOMP_FILTER_FLAG_LOG : 0) |
	                       (for_all ? SECCOMP_FILTER_FLAG_TSYNC : 0) |
	                       (t->mitigated ? 0 : SECCOMP_FILTER_FLAG_SPEC_ALLOW);

	s->host->pointer(p, head, offsetof(struct sock_fprog, filter),
	                 s->host->data(p, f->program.data, f->program.len), 0);
	s->host->call(p,
	              for_all ? "seccomp: install filter for all threads" : "seccomp: install filter",
	              SYS_seccomp, ARGS(IMM(SECCOMP_SET_MODE_FILTER), IMM(flags), DATA(head)),
	              CRCORE_EQUAL, 0);
}

int seccomp_emit_thread(void *state, const struct crcore_task *task, uint32_t thread,
                        struct crcore_program *p, struct crcore_error *err)
{
	struct seccomp *s = state;
	const Seccomp__Thread *t = find(s, task->tids[thread]);
	size_t common;

	if (!t)
		return 0;
	if (t->strict) {
		s->host->call(p, "seccomp: strict mode", SYS_prctl,
		              ARGS(IMM(PR_SET_SECCOMP), IMM(SECCOMP_MODE_STRICT)), CRCORE_EQUAL, 0);
		return 0;
	}
	common = in_common(s, task);
	for (size_t i = thread ? common : 0; i < t->n_filters; i++)
		install(s, t, i, i < common, p);
	return 0;
}
