/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semaphores: values, who operated last on each, and that somebody did at all
 * (programs tell by it whether a set was initialised). The pid the kernel takes
 * from whoever sets a value: a helper for each pid.
 */
#include "ipc.h"

static int save_values(struct ipc *s, const struct entry *e, Ipc__Sem *rec,
                       struct crcore_error *err)
{
	cleanup_free unsigned short *v = calloc(e->size + 1, sizeof(*v));

	rec->values = calloc(e->size + 1, sizeof(*rec->values));
	rec->pids = calloc(e->size + 1, sizeof(*rec->pids));
	if (!v || !rec->values || !rec->pids)
		return crcore_no_memory(err);
	if (semctl(e->id, 0, GETALL, (union semun){ .array = v }) < 0)
		return crcore_fail(err, -errno, "cannot be read: %s", strerror(errno));
	rec->n_values = rec->n_pids = e->size;
	for (uint64_t i = 0; i < e->size; i++) {
		int pid = semctl(e->id, (int)i, GETPID);
		rec->values[i] = v[i];
		rec->pids[i] = pid > 0 ? (uint32_t)pid : 0;
	}
	return 0;
}

static int save_one(struct ipc *s, const struct used *u, struct crcore_error *err)
{
	Ipc__Sem rec = IPC__SEM__INIT;
	Ipc__Perm perm = IPC__PERM__INIT;
	int r = 0;

	perm_fill(&perm, &u->e, u->kept);
	rec.perm = &perm;
	rec.operated = u->e.operated;
	if (!u->kept)
		r = save_values(s, &u->e, &rec, err);
	if (r == 0)
		r = record_put(s->host, s->ctx, "sem", &rec.base, err);
	if (r < 0)
		crcore_fail_at(err, -1, -1, "System V sem %d", u->e.id);
	free(rec.values);
	free(rec.pids);
	return r;
}

int sem_save(struct ipc *s, struct crcore_error *err)
{
	struct used *v;
	unsigned n;
	int r = scope_list(s, SEM, &v, &n, err);

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = save_one(s, &v[i], err);
	free(v);
	return r;
}

/* ---- restore ---- */

struct setting { const Ipc__Sem *rec; uint32_t pid; };

/* Up and down at once: changes nothing but who operated, and when. */
static int operate(int id, unsigned number, uint32_t value)
{
	short up = value < 32767 ? 1 : -1;
	struct sembuf ops[2] = { { (unsigned short)number, up, IPC_NOWAIT },
		                 { (unsigned short)number, (short)-up, IPC_NOWAIT } };

	return semop(id, ops, 2) < 0 ? -errno : 0;
}

static int set_values(void *arg)
{
	const struct setting *set = arg;
	const Ipc__Sem *rec = set->rec;
	int id = (int)rec->perm->id, r = 0;

	for (size_t i = 0; r == 0 && i < rec->n_values; i++) {
		if (rec->pids[i] != set->pid || (!set->pid && !rec->values[i]))
			continue;
		if (semctl(id, (int)i, SETVAL, (union semun){ .val = (int)rec->values[i] }) < 0)
			r = -errno;
		else if (rec->operated)
			r = operate(id, (unsigned)i, rec->values[i]);
	}
	return r;
}

static bool is_first(const Ipc__Sem *rec, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (rec->pids[k] == rec->pids[i])
			return false;
	return true;
}

int sem_make(struct ipc *s, struct sem *sem, struct crcore_error *err)
{
	const Ipc__Sem *rec = sem->rec;
	int r = item_make(s, &sem->item, 0, rec->n_values, 0, err);

	for (size_t i = 0; r == 0 && i < rec->n_values; i++) {
		struct setting set = { rec, rec->pids[i] };
		if (!is_first(rec, i))
			continue;
		r = set.pid ? ipc_run_as(s, (pid_t)set.pid, set_values, &set, err) : set_values(&set);
		if (r < 0)
			return item_fail(&sem->item, r, "its values cannot be set", err);
	}
	return r < 0 ? r : item_dress(&sem->item, err);
}
