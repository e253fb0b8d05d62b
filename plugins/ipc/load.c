/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: records, what is in their way, and the making of all objects before
 * the first task exists. A tree that was killed leaves its objects behind; one
 * with the same id, key and creator that nobody uses is such a leftover, and is
 * replaced.
 */
#include "ipc.h"

#include <sys/mman.h>

#define ID_MAX INT32_MAX
#define SEMS_MAX 65536

static bool valid_perm(const Ipc__Perm *p)
{
	return p && p->id <= ID_MAX && p->mode <= 0777;
}

static int damaged(const char *section, struct crcore_error *err)
{
	return crcore_fail(err, -EBADMSG, "a record of section %s makes no sense", section);
}

static struct item item_of(enum sort sort, const Ipc__Perm *perm)
{
	return (struct item){ .sort = sort, .perm = perm };
}

/* ---- one section each ---- */

static int load_shm(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Shm *rec = ipc__shm__unpack(NULL, len, msg);
	struct shm *shm = calloc(1, sizeof(*shm));
	bool ok = rec && valid_perm(rec->perm) && rec->size && rec->size <= INT64_MAX / 2 &&
	          (!rec->huge_shift || (rec->huge_shift > 12 && rec->huge_shift < 40));

	if (!ok || !shm || !GROW(s->shm, s->nshm)) {
		if (rec)
			ipc__shm__free_unpacked(rec, NULL);
		free(shm);
		return ok ? crcore_no_memory(err) : damaged("shm", err);
	}
	shm->rec = rec;
	shm->fd = -1;
	shm->item = item_of(SHM, rec->perm);
	s->shm[s->nshm++] = shm;
	return 0;
}

static int load_attach(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Attach *rec = ipc__attach__unpack(NULL, len, msg);

	if (!rec)
		return damaged("attach", err);
	if (!GROW(s->attach, s->nattach)) {
		ipc__attach__free_unpacked(rec, NULL);
		return crcore_no_memory(err);
	}
	s->attach[s->nattach++] = (struct attach){ rec, NULL };
	return 0;
}

static bool valid_sem(const Ipc__Sem *rec)
{
	if (!rec || !valid_perm(rec->perm) || rec->n_values != rec->n_pids ||
	    rec->n_values > SEMS_MAX || (!rec->n_values && !rec->perm->kept))
		return false;
	for (size_t i = 0; i < rec->n_values; i++)
		if (rec->values[i] > 32767 || rec->pids[i] > INT32_MAX)
			return false;
	return true;
}

static int load_sem(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Sem *rec = ipc__sem__unpack(NULL, len, msg);
	struct sem *sem = calloc(1, sizeof(*sem));
	bool ok = valid_sem(rec);

	if (!ok || !sem || !GROW(s->sem, s->nsem)) {
		if (rec)
			ipc__sem__free_unpacked(rec, NULL);
		free(sem);
		return ok ? crcore_no_memory(err) : damaged("sem", err);
	}
	sem->rec = rec;
	sem->item = item_of(SEM, rec->perm);
	s->sem[s->nsem++] = sem;
	return 0;
}

static int load_msg(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Msg *rec = ipc__msg__unpack(NULL, len, msg);
	struct msg *m = calloc(1, sizeof(*m));
	bool ok = rec && valid_perm(rec->perm) && rec->max_bytes <= INT64_MAX;

	if (!ok || !m || !GROW(s->msg, s->nmsg)) {
		if (rec)
			ipc__msg__free_unpacked(rec, NULL);
		free(m);
		return ok ? crcore_no_memory(err) : damaged("msg", err);
	}
	m->rec = rec;
	m->item = item_of(MSG, rec->perm);
	s->msg[s->nmsg++] = m;
	return 0;
}

static int load_message(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Message *rec = ipc__message__unpack(NULL, len, msg);
	struct msg *m = NULL;

	for (unsigned i = 0; rec && i < s->nmsg; i++)
		if (s->msg[i]->rec->perm->id == rec->queue)
			m = s->msg[i];
	bool ok = rec && m && rec->type > 0 && rec->text.len <= INT32_MAX;

	if (!ok || !GROW(m->v, m->n)) {
		if (rec)
			ipc__message__free_unpacked(rec, NULL);
		return ok ? crcore_no_memory(err) : damaged("message", err);
	}
	m->v[m->n++] = rec;
	return 0;
}

static int load_undo(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Undo *rec = ipc__undo__unpack(NULL, len, msg);
	bool ok = rec && rec->adjust && rec->adjust >= -32768 && rec->adjust <= 32767;

	if (!ok || !GROW(s->undos, s->nundos)) {
		if (rec)
			ipc__undo__free_unpacked(rec, NULL);
		return ok ? crcore_no_memory(err) : damaged("undo", err);
	}
	s->undos[s->nundos++] = rec;
	return 0;
}

static int load_limit(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Limit *rec = ipc__limit__unpack(NULL, len, msg);

	if (!rec || !limit_known(rec->name) || !GROW(s->limit, s->nlimit)) {
		if (rec)
			ipc__limit__free_unpacked(rec, NULL);
		return damaged("limit", err);
	}
	s->limit[s->nlimit++] = (struct limit){ .rec = rec };
	return 0;
}

int ipc_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *err)
{
	static const struct {
		const char *section;
		int (*fn)(struct ipc *, const void *, size_t, struct crcore_error *);
	} table[] = {
		{ "shm", load_shm }, { "attach", load_attach }, { "sem", load_sem }, { "msg", load_msg },
		{ "message", load_message }, { "undo", load_undo }, { "limit", load_limit },
		{ "queue", queue_load }, { "open", queue_load_open },
		{ "queue-message", queue_load_message },
		{ "memory", memory_load }, { "memory-use", memory_load_use },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(section, table[i].section))
			return table[i].fn(state, msg, len, err);
	return crcore_fail(err, -EBADMSG, "there is no section %s", section);
}

/* ---- what is in the way ---- */

static bool is_same(const Ipc__Perm *p, const struct entry *e, uint64_t size)
{
	return (uint32_t)e->id == p->id && (e->key == p->key || !e->key) && e->cuid == p->cuid &&
	       e->cgid == p->cgid && (!size || e->size == size);
}

/* Somebody who could notice that it is replaced. */
static bool is_in_use(const struct ipc *s, enum sort sort, const struct entry *e)
{
	bool used = sort == SHM && e->nattch;

	if (sort == MSG) {
		struct msqid_ds ds;
		used = msgctl(e->id, IPC_STAT, &ds) < 0;
	}
	for (uint64_t i = 0; sort == SEM && !used && i < e->size; i++)
		used = semctl(e->id, (int)i, GETNCNT) > 0 || semctl(e->id, (int)i, GETZCNT) > 0;
	return used;
}

static int in_the_way(const struct item *it, const char *why, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "System V %s %u", sort_names[it->sort], it->perm->id);
	crcore_advise(err, "remove it (ipcrm), or restore in another IPC namespace");
	return crcore_fail(err, -EEXIST, "%s", why);
}

static int check_item(struct ipc *s, const struct item *it, const struct list *l, uint64_t size,
                      struct crcore_error *err)
{
	const struct entry *same = list_find(l, (int)it->perm->id);

	if (it->perm->kept) {
		if (same && is_same(it->perm, same, 0))
			return 0;
		return in_the_way(it, "is shared with others, and is not there any more", err);
	}
	for (unsigned i = 0; i < l->n; i++) {
		const struct entry *e = &l->v[i];
		bool leftover = is_same(it->perm, e, size) && !is_in_use(s, it->sort, e);
		if (leftover && s->existing == EXISTING_REPLACE)
			continue;
		if ((uint32_t)e->id == it->perm->id)
			return in_the_way(it, leftover ? "is there already (existing: refuse)"
			                               : "the id is in use by another object", err);
		if (e->key && e->key == it->perm->key)
			return in_the_way(it, "its key is in use by another object", err);
		if (((uint32_t)e->id ^ it->perm->id) % 32768 == 0)
			return in_the_way(it, "its place in the kernel's table is taken by another object",
			                  err);
	}
	return 0;
}

static int check_all(struct ipc *s, struct crcore_error *err)
{
	struct list l[NSORTS] = { { 0 } };
	int r = 0;

	for (enum sort i = 0; r == 0 && i < NSORTS; i++)
		r = ipc_list(i, &l[i], err);
	for (unsigned i = 0; r == 0 && i < s->nshm; i++)
		r = check_item(s, &s->shm[i]->item, &l[SHM], s->shm[i]->rec->size, err);
	for (unsigned i = 0; r == 0 && i < s->nsem; i++)
		r = check_item(s, &s->sem[i]->item, &l[SEM], s->sem[i]->rec->n_values, err);
	for (unsigned i = 0; r == 0 && i < s->nmsg; i++)
		r = check_item(s, &s->msg[i]->item, &l[MSG], 0, err);
	for (enum sort i = 0; i < NSORTS; i++)
		free(l[i].v);
	return r;
}

static int check_forced(const struct ipc *s, struct crcore_error *err)
{
	char value[16];

	if (!s->nshm || !ipc_sysctl_read("kernel/shm_rmid_forced", value, sizeof(value)) ||
	    !strcmp(value, "0"))
		return 0;
	crcore_advise(err, "set kernel.shm_rmid_forced to 0 meanwhile");
	return crcore_fail(err, -ENOTSUP, "this kernel removes segments that are not attached "
	                   "(kernel.shm_rmid_forced), so none can be prepared");
}

int ipc_check(void *state, struct crcore_error *err)
{
	struct ipc *s = state;
	int r = shm_check(s, err);

	if (r == 0 && s->nshm + s->nsem + s->nmsg)
		r = check_all(s, err);
	if (r == 0)
		r = queue_check(s, err);
	if (r == 0)
		r = memory_check(s, err);
	return r < 0 || (r = undo_check(s, err)) < 0 ? r : check_forced(s, err);
}

/* ---- made ---- */

static void unmake(void *arg)
{
	struct ipc *s = arg;

	for (unsigned i = 0; i < s->nshm; i++)
		item_remove(&s->shm[i]->item);
	for (unsigned i = 0; i < s->nsem; i++)
		item_remove(&s->sem[i]->item);
	for (unsigned i = 0; i < s->nmsg; i++)
		item_remove(&s->msg[i]->item);
	queue_unmake(s);
	memory_unmake(s);
}

/* check() has said that whatever has the id is a leftover. */
static void drop_leftover(struct item *it)
{
	struct entry e;

	if (it->perm->kept || !ipc_stat(it->sort, (int)it->perm->id, &e))
		return;
	it->made = true;
	item_remove(it);
}

static void drop_leftovers(struct ipc *s)
{
	for (unsigned i = 0; i < s->nshm; i++)
		drop_leftover(&s->shm[i]->item);
	for (unsigned i = 0; i < s->nsem; i++)
		drop_leftover(&s->sem[i]->item);
	for (unsigned i = 0; i < s->nmsg; i++)
		drop_leftover(&s->msg[i]->item);
}

int ipc_prepare(void *state, struct crcore_error *err)
{
	struct ipc *s = state;
	int r = limit_set(s, false, err);

	if (r < 0 || !(s->nshm + s->nsem + s->nmsg + s->nqueue + s->nmemory))
		return r;
	if ((r = s->host->undo(s->ctx, unmake, s, false, err)) < 0)
		return r;
	drop_leftovers(s);
	for (unsigned i = 0; r == 0 && i < s->nshm; i++)
		r = shm_make(s, s->shm[i], err);
	for (unsigned i = 0; r == 0 && i < s->nsem; i++)
		if (!s->sem[i]->rec->perm->kept)
			r = sem_make(s, s->sem[i], err);
	for (unsigned i = 0; r == 0 && i < s->nmsg; i++)
		if (!s->msg[i]->rec->perm->kept)
			r = msg_make(s, s->msg[i], err);
	if (r == 0)
		r = queue_make(s, err);
	return r < 0 ? r : memory_make(s, err);
}
