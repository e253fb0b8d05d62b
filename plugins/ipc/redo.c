/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what a process will undo at its end. It operates up and down in one
 * call, of which it is to undo one: the value stays. As the kernel notes who
 * operated last, those who did are let do so once more.
 */
#include "ipc.h"

#include <sys/syscall.h>

static const struct sem *find(const struct ipc *s, uint32_t id)
{
	for (unsigned i = 0; i < s->nsem; i++)
		if (s->sem[i]->rec->perm->id == id)
			return s->sem[i];
	return NULL;
}

int undo_check(struct ipc *s, struct crcore_error *err)
{
	for (unsigned i = 0; i < s->nundos; i++) {
		const Ipc__Undo *u = s->undos[i];
		const struct sem *sem = find(s, u->sem);
		if (!sem || u->number >= sem->rec->n_values || !ipc_task(s, (pid_t)u->pid))
			return crcore_fail(err, -EBADMSG, "a record of section undo makes no sense");
	}
	return 0;
}

/* 0 is not added: it would mean to wait. */
static unsigned add(struct sembuf *v, uint32_t number, int by, bool undo)
{
	*v = (struct sembuf){ .sem_num = (unsigned short)number, .sem_op = (short)by,
	                      .sem_flg = (short)(IPC_NOWAIT | (undo ? SEM_UNDO : 0)) };
	return by != 0;
}

static void emit(struct ipc *s, struct crcore_program *p, uint32_t id, const struct sembuf *v,
                 unsigned n)
{
	s->host->call(p, "ipc: operate semaphore", SYS_semop,
	              ARGS(IMM(id), DATA(s->host->data(p, v, n * sizeof(*v))), IMM(n)), CRCORE_EQUAL,
	              0);
}

static void redo(struct ipc *s, const Ipc__Undo *u, struct crcore_program *p)
{
	int value = (int)find(s, u->sem)->rec->values[u->number], by = u->adjust;
	struct sembuf v[8];
	unsigned n = add(v, u->number, -value, false);

	if (by > 0) { /* it took, and will give back */
		n += add(v + n, u->number, by, false);
		n += add(v + n, u->number, -by, true);
	}
	for (int part; by < 0; by += part) { /* -32768 does not fit into one operation */
		part = by < -32767 ? 32767 : -by;
		n += add(v + n, u->number, part, true);
		n += add(v + n, u->number, -part, false);
	}
	n += add(v + n, u->number, value, false);
	emit(s, p, u->sem, v, n);
}

/* Each semaphore that redo() touched, once. */
static bool is_first(const struct ipc *s, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (s->undos[k]->sem == s->undos[i]->sem && s->undos[k]->number == s->undos[i]->number)
			return false;
	return true;
}

static unsigned touch(const struct ipc *s, const Ipc__Undo *u, struct sembuf v[2],
                      uint32_t *ret_pid)
{
	const Ipc__Sem *rec = find(s, u->sem)->rec;
	int up = rec->values[u->number] < 32767 ? 1 : -1;

	*ret_pid = rec->pids[u->number];
	add(v, u->number, up, false);
	add(v + 1, u->number, -up, false);
	return 2;
}

void undo_emit(struct ipc *s, const struct crcore_task *task, uint32_t phase,
               struct crcore_program *p)
{
	struct sembuf v[2];
	uint32_t pid;

	for (unsigned i = 0; i < s->nundos; i++) {
		const Ipc__Undo *u = s->undos[i];
		if (phase == CRCORE_PHASE_FILES && u->pid == (uint32_t)task->pid)
			redo(s, u, p);
		if (phase != CRCORE_PHASE_LATE || !is_first(s, i))
			continue;
		unsigned n = touch(s, u, v, &pid);
		if (pid == (uint32_t)task->pid)
			emit(s, p, u->sem, v, n);
	}
}

struct touching { int id; struct sembuf v[2]; };

static int touch_as(void *arg)
{
	struct touching *t = arg;

	return semop(t->id, t->v, 2) < 0 ? -errno : 0;
}

/* Those who operated last and are not of the tree. */
int undo_settle(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->nundos; i++) {
		struct touching t = { .id = (int)s->undos[i]->sem };
		uint32_t pid;
		touch(s, s->undos[i], t.v, &pid);
		if (pid && is_first(s, i) && !ipc_task(s, (pid_t)pid))
			r = ipc_run_as(s, (pid_t)pid, touch_as, &t, err);
	}
	return r;
}
