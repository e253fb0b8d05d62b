/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process will undo at its end (SEM_UNDO). The kernel tells nobody. But
 * it refuses an operation that would take the sum of what is to be undone out of
 * its range, -32768 to 32767, and tells that from one that would have to wait.
 * So the task is made to try operations that cannot succeed: if one fails with
 * ERANGE and not with EAGAIN, the sum is beyond what was tried. What fails
 * changes nothing, and nobody sees it happen: the kernel does all operations of
 * one call under a lock. First many semaphores by one call, whether any has a
 * sum at all; then, round by round, which.
 */
#include "ipc.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>

#define TOP 32767      /* of a value, and of a sum; the lowest sum is one further from 0 */
#define CHUNK 64       /* semaphores tried at once: at most 6 operations each, 500 in a call */
#define SPLIT 16       /* parts that a round divides a range into */

struct probe {
	pid_t pid;
	unsigned set, first, n;    /* semaphores first .. first + n - 1 of a set */
	bool negative;
	bool any;                  /* of those: is there any sum at all? */
	int lo, hi;                /* the sum's magnitude is at least lo, and below hi */
	struct crcore_program *program; /* of the last round; NULL: not asked yet */
	uint32_t ops[SPLIT];
	int at[SPLIT];             /* magnitudes tried */
	unsigned nops;
	bool done;
};

struct undo_set { int id; unsigned n; bool kept; unsigned short *values; };
struct undo_task { struct probe *v; unsigned n; bool begun; };

/* ---- operations ---- */

struct list_of { struct sembuf v[500]; unsigned n; };

static void op(struct list_of *l, unsigned number, int by, bool undo)
{
	while (by) { /* -32768 does not fit into one */
		int part = by > TOP ? TOP : by < -TOP ? -TOP : by;
		l->v[l->n++] = (struct sembuf){ (unsigned short)number, (short)part,
			                        (short)(IPC_NOWAIT | (undo ? SEM_UNDO : 0)) };
		by -= part;
	}
}

/* ERANGE if the sum is at least magnitude (or at most -magnitude). The value is 0 before. */
static void try(struct list_of *l, unsigned number, bool negative, int magnitude)
{
	int by = TOP + 1 - magnitude;

	if (negative) {
		by++; /* the range goes further there */
		op(l, number, by > TOP ? TOP : by, true);
		op(l, number, by > TOP ? -TOP : -by, false);
		op(l, number, by > TOP ? by - TOP : 0, true);
		op(l, number, by > TOP ? TOP - by : 0, false);
	} else {
		op(l, number, by, false);
		op(l, number, -by, true);
	}
}

static uint32_t ask(struct ipc *s, const struct probe *p, int magnitude,
                    struct crcore_program *program)
{
	const struct undo_set *set = &s->sets[p->set];
	struct list_of l = { .n = 0 };

	for (unsigned i = p->first; i < p->first + p->n; i++) {
		op(&l, i, -(int)set->values[i], false);
		try(&l, i, p->negative, magnitude);
	}
	op(&l, p->first, -TOP, false); /* one of these would have to wait */
	op(&l, p->first, -TOP, false);
	return s->host->call(program, "ipc: try what cannot succeed", SYS_semop,
	                     ARGS(IMM(set->id), DATA(s->host->data(program, l.v, l.n * sizeof(l.v[0]))),
	                          IMM(l.n)), CRCORE_ANY, 0);
}

/* ---- rounds ---- */

static bool add_probe(struct undo_task *t, struct probe p)
{
	if (!GROW(t->v, t->n))
		return false;
	t->v[t->n++] = p;
	return true;
}

/* Both signs, all semaphores of all sets. */
static bool begin(struct ipc *s, struct undo_task *t, pid_t pid)
{
	for (unsigned i = 0; i < s->nsets; i++)
		for (unsigned first = 0; first < s->sets[i].n; first += CHUNK)
			for (int negative = 0; negative < 2; negative++) {
				unsigned n = s->sets[i].n - first;
				if (!add_probe(t, (struct probe){ .pid = pid, .set = i, .first = first,
				               .n = n < CHUNK ? n : CHUNK, .negative = negative,
				               .any = true, .hi = 2 }))
					return false;
			}
	return true;
}

/* Some of them have sums: which, and how much, is asked of each. */
static int ask_each(struct undo_task *t, unsigned i, struct crcore_error *err)
{
	struct probe p = t->v[i];
	struct probe one = { .pid = p.pid, .set = p.set, .n = 1, .negative = p.negative,
		             .hi = TOP + 1 + p.negative };

	for (one.first = p.first; one.first < p.first + p.n; one.first++)
		if (!add_probe(t, one))
			return crcore_no_memory(err);
	t->v[i].lo = 0; /* they tell */
	return 0;
}

/* What the last round told. */
static int hear(struct ipc *s, struct undo_task *t, unsigned i, struct crcore_error *err)
{
	struct probe *p = &t->v[i];

	for (unsigned k = 0; p->program && k < p->nops; k++) {
		int64_t r = s->host->result(p->program, p->ops[k]);
		if (r == -EACCES) { /* it may not use the set */
			p->done = true;
			return 0;
		}
		if (r != -ERANGE && r != -EAGAIN) {
			crcore_fail_at(err, p->pid, -1, "System V sem %d", s->sets[p->set].id);
			return crcore_fail(err, r < 0 ? (int)r : -EBUSY, "what the task would undo at its end "
			                   "cannot be found out: %s", r < 0 ? strerror((int)-r) :
			                   "the values changed meanwhile");
		}
		if (r == -ERANGE)
			p->lo = p->at[k];
		else if (p->at[k] < p->hi)
			p->hi = p->at[k];
	}
	if (p->hi - p->lo > 1)
		return 0;
	p->done = true;
	return p->any && p->lo ? ask_each(t, i, err) : 0;
}

static void go_on(struct ipc *s, struct probe *p, struct crcore_program *program)
{
	int range = p->hi - p->lo;

	p->program = program;
	p->nops = 0;
	for (int k = 1; k < SPLIT; k++) {
		int at = p->lo + (int)((int64_t)range * k / SPLIT);
		if (at <= p->lo || (p->nops && at == p->at[p->nops - 1]))
			continue;
		p->at[p->nops] = at;
		p->ops[p->nops++] = ask(s, p, at, program);
	}
}

/* ---- who, and what ---- */

static int find_sets(struct ipc *s, struct crcore_error *err)
{
	struct used *v;
	unsigned n;
	int r;

	scope_forget(s); /* the tree is frozen: nobody comes or goes any more */
	if ((r = scope_list(s, SEM, &v, &n, err)) < 0)
		return r;
	s->sets = calloc(n + 1, sizeof(*s->sets));
	for (unsigned i = 0; s->sets && r == 0 && i < n; i++) {
		struct undo_set *set = &s->sets[s->nsets++];
		*set = (struct undo_set){ v[i].e.id, (unsigned)v[i].e.size, v[i].kept,
			                  calloc(v[i].e.size + 1, sizeof(*set->values)) };
		if (!set->values)
			r = crcore_no_memory(err);
		else if (semctl(set->id, 0, GETALL, (union semun){ .array = set->values }) < 0)
			r = crcore_fail(err, -errno, "semaphores cannot be read: %s", strerror(errno));
	}
	free(v);
	return s->sets ? r : crcore_no_memory(err);
}

static int compare(pid_t a, pid_t b)
{
	return (int)syscall(SYS_kcmp, a, b, KCMP_SYSVSEM, 0, 0);
}

/* Has it a list of what to undo? We have none; who has none has the same as we. */
static bool has_list(const struct crcore_task *t)
{
	return t->state != CRCORE_TASK_ZOMBIE && compare(getpid(), t->pid) != 0;
}

static int refuse(const struct crcore_task *t, const char *with, pid_t other,
                  struct crcore_error *err)
{
	crcore_fail_at(err, t->pid, -1, "task %s", t->comm);
	crcore_advise(err, "undo it before the dump");
	return crcore_fail(err, -ENOTSUP, "%s %d %s what it will undo at its end (CLONE_SYSVSEM)", with,
	                   other, other == t->pid ? "has alone" : "does not keep as it does");
}

/* A list is that of a process: its threads share it, other processes do not. */
static int check_sharing(const struct ipc *s, const struct crcore_task *t, struct crcore_error *err)
{
	const struct crcore_task *o;

	for (uint32_t k = 1; k < t->nthreads; k++)
		if (compare(t->pid, t->tids[k]) != 0)
			return refuse(t, "thread", t->tids[k], err);
	for (uint32_t i = 0; (o = s->host->task(s->ctx, i)) && o != t; i++)
		if (has_list(o) && compare(t->pid, o->pid) == 0)
			return refuse(t, "process", o->pid, err);
	return 0;
}

static int begin_task(struct ipc *s, const struct crcore_task *task, struct undo_task *t,
                      struct crcore_error *err)
{
	int r = s->sets ? 0 : find_sets(s, err);

	t->begun = true;
	if (r < 0 || !s->nsets || !has_list(task) || (r = check_sharing(s, task, err)) < 0)
		return r;
	return begin(s, t, task->pid) ? 0 : crcore_no_memory(err);
}

int undo_ask_again(void *state, const struct crcore_task *task, struct crcore_program *program,
                   struct crcore_error *err)
{
	struct ipc *s = state;
	int r = 0;

	while (s->nundo <= task->index) {
		if (!GROW(s->undo, s->nundo))
			return crcore_no_memory(err);
		s->undo[s->nundo++] = (struct undo_task){ 0 };
	}
	struct undo_task *t = &s->undo[task->index];
	if (!t->begun)
		r = begin_task(s, task, t, err);
	for (unsigned i = 0; r == 0 && i < t->n; i++)
		if (!t->v[i].done)
			r = hear(s, t, i, err);
	for (unsigned i = 0; r == 0 && i < t->n; i++)
		if (!t->v[i].done)
			go_on(s, &t->v[i], program);
	return r;
}

static int save_one(struct ipc *s, const struct probe *p, struct crcore_error *err)
{
	const struct undo_set *set = &s->sets[p->set];
	Ipc__Undo rec = IPC__UNDO__INIT;

	if (set->kept) {
		crcore_fail_at(err, p->pid, -1, "System V sem %d", set->id);
		crcore_advise(err, "dump when the task does not hold it");
		return crcore_fail(err, -ENOTSUP, "the task will undo what it did to it at its end, and it "
		                   "is shared with others");
	}
	rec.pid = (uint32_t)p->pid;
	rec.sem = (uint32_t)set->id;
	rec.number = p->first;
	rec.adjust = p->negative ? -p->lo : p->lo;
	return record_put(s->host, s->ctx, "undo", &rec.base, err);
}

int undo_save(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < s->nundo; i++)
		for (unsigned k = 0; r == 0 && k < s->undo[i].n; k++)
			if (s->undo[i].v[k].lo)
				r = save_one(s, &s->undo[i].v[k], err);
	return r;
}

void undo_free(struct ipc *s)
{
	for (unsigned i = 0; i < s->nundo; i++)
		free(s->undo[i].v);
	free(s->undo);
	for (unsigned i = 0; i < s->nsets; i++)
		free(s->sets[i].values);
	free(s->sets);
}
