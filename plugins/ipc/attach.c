/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: segments. They are made and filled before the first task exists; a
 * task attaches them itself, since only shmat(2) makes a mapping that the kernel
 * counts, and that shmdt(2) finds.
 *
 * One attachment may be many mappings: parts that were protected otherwise,
 * moved or unmapped. shmdt(2) takes all that came of one call, so all that lie
 * at one distance from their offsets are made by one call.
 */
#include "ipc.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef SHM_HUGETLB
#define SHM_HUGETLB 04000
#endif
#define SHM_HUGE_SHIFT_ 26

/* Bytes that an attachment takes. */
static uint64_t length_of(const Ipc__Shm *rec)
{
	uint64_t page = rec->huge_shift ? 1ULL << rec->huge_shift : PAGE;

	return (rec->size + page - 1) & ~(page - 1);
}

int shm_check(struct ipc *s, struct crcore_error *err)
{
	for (unsigned i = 0; i < s->nattach; i++) {
		struct attach *a = &s->attach[i];
		for (unsigned k = 0; k < s->nshm; k++)
			if (s->shm[k]->rec->perm->id == a->rec->shm)
				a->shm = s->shm[k];
		if (!a->shm)
			return crcore_fail(err, -EBADMSG, "segment %u is attached and not in the image",
			                   a->rec->shm);
	}
	return 0;
}

/* ---- made in the coordinator ---- */

static bool is_key_free(const struct ipc *s, const struct shm *shm)
{
	for (unsigned i = 0; i < s->nshm; i++)
		if (s->shm[i] != shm && s->shm[i]->rec->perm->key == shm->rec->perm->key)
			return false;
	return shmget((key_t)shm->rec->perm->key, 0, 0) < 0 && errno == ENOENT;
}

static int fill(struct ipc *s, struct shm *shm, struct crcore_error *err)
{
	int id = (int)shm->rec->perm->id;

	shm->fd = shm_open_memory(id, true);
	if (shm->fd < 0)
		return item_fail(&shm->item, shm->fd, "cannot be attached", err);
	if (shm->rec->perm->kept)
		return 0;
	int r = s->host->load_contents(s->ctx, (uint64_t)id, shm->fd, err);
	if (r < 0)
		crcore_fail_at(err, -1, -1, "System V shm %d", id);
	else if (shm->rec->locked && shmctl(id, SHM_LOCK, NULL) < 0)
		r = item_fail(&shm->item, -errno, "cannot be locked in memory", err);
	return r;
}

int shm_make(struct ipc *s, struct shm *shm, struct crcore_error *err)
{
	const Ipc__Shm *rec = shm->rec;
	int flags = 0, r = 0;

	if (rec->huge_shift)
		flags = SHM_HUGETLB | (int)(rec->huge_shift << SHM_HUGE_SHIFT_);
	if (rec->removed && !is_key_free(s, shm))
		rec->perm->key = 0;
	if (!rec->perm->kept)
		r = item_make(s, &shm->item, (pid_t)rec->cpid, rec->size, flags, err);
	if (r == 0)
		r = fill(s, shm, err);
	return r < 0 || rec->perm->kept ? r : item_dress(&shm->item, err);
}

static const struct attach *find(const struct ipc *s, uint32_t object)
{
	for (unsigned i = 0; i < s->nattach; i++)
		if (s->attach[i].rec->object == object)
			return &s->attach[i];
	return NULL;
}

int shm_create(struct ipc *s, uint32_t object, struct crcore_error *err)
{
	const struct attach *a = find(s, object);

	if (!a)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", object);
	int fd = fcntl(a->shm->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? crcore_fail(err, -errno, "cannot keep it open: %s", strerror(errno)) : fd;
}

/* ---- attached by the tasks ---- */

struct attaching {
	struct ipc *s;
	const struct attach *a;
	struct crcore_program *p;
	uint64_t scratch, scratch_len;
};

static void protect(struct attaching *at, uint64_t start, uint64_t end, uint32_t prot,
                    uint32_t have)
{
	if (prot != have)
		at->s->host->call(at->p, "ipc: protect segment", SYS_mprotect,
		                  ARGS(IMM(start), IMM(end - start), IMM(prot)), CRCORE_EQUAL, 0);
}

/* Mappings of one attachment, which would begin at base if it was whole. */
static int attach_group(struct attaching *at, const struct crcore_mapping *const *v, uint32_t n,
                        uint64_t base, struct crcore_error *err)
{
	const Ipc__Shm *rec = at->a->shm->rec;
	const struct crcore_host *host = at->s->host;
	uint64_t len = length_of(rec), covered = 0;
	uint32_t have = PROT_READ | (at->a->rec->read_only ? 0 : PROT_WRITE);
	int flags = at->a->rec->read_only ? SHM_RDONLY : 0;

	for (uint32_t i = 0; i < n; i++) {
		if (v[i]->offset > len || v[i]->end - v[i]->start > len - v[i]->offset)
			return crcore_fail(err, -EBADMSG, "a mapping of segment %u is longer than it",
			                   rec->perm->id);
		if (v[i]->start - v[i]->offset == base) {
			covered += v[i]->end - v[i]->start;
			flags |= v[i]->prot & PROT_EXEC ? SHM_EXEC : 0;
		}
	}
	have |= flags & SHM_EXEC ? PROT_EXEC : 0;
	bool whole = covered == len;
	if (!whole && len > at->scratch_len)
		return crcore_fail(err, -ENOMEM, "there is no room to attach segment %u", rec->perm->id);
	uint64_t where = whole ? base : at->scratch;
	host->call(at->p, "ipc: attach segment", SYS_shmat, ARGS(IMM(rec->perm->id), IMM(where),
	           IMM(flags | (whole ? SHM_REMAP : 0))), CRCORE_EQUAL, (int64_t)where);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t size = v[i]->end - v[i]->start;
		if (v[i]->start - v[i]->offset != base)
			continue;
		if (!whole)
			host->call(at->p, "ipc: place part of segment", SYS_mremap,
			           ARGS(IMM(where + v[i]->offset), IMM(size), IMM(size),
			                IMM(MREMAP_MAYMOVE | MREMAP_FIXED), IMM(v[i]->start)),
			           CRCORE_EQUAL, (int64_t)v[i]->start);
		protect(at, v[i]->start, v[i]->end, v[i]->prot, have);
	}
	if (!whole) /* of what was not placed */
		host->call(at->p, "ipc: detach the rest", SYS_munmap, ARGS(IMM(where), IMM(len)),
		           CRCORE_EQUAL, 0);
	return 0;
}

int shm_map(struct ipc *s, uint32_t object, const struct crcore_mapping *const *v, uint32_t n,
            uint64_t scratch, uint64_t scratch_len, struct crcore_program *p,
            struct crcore_error *err)
{
	struct attaching at = { s, find(s, object), p, scratch, scratch_len };
	int r = at.a ? 0 : crcore_fail(err, -EBADMSG, "there is no record of object %u", object);

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		uint64_t base = v[i]->start - v[i]->offset;
		uint32_t first = 0;
		while (v[first]->start - v[first]->offset != base)
			first++;
		if (first == i)
			r = attach_group(&at, v, n, base, err);
	}
	return r < 0 ? r : 1;
}

/* ---- who was last ---- */

/* All have attached what they have: one of the tree that was last is so again. */
void shm_emit(struct ipc *s, const struct crcore_task *task, struct crcore_program *p)
{
	for (unsigned i = 0; i < s->nshm; i++) {
		const Ipc__Shm *rec = s->shm[i]->rec;
		if (rec->perm->kept || rec->lpid != (uint32_t)task->pid)
			continue;
		uint32_t op = s->host->call(p, "ipc: attach as the last", SYS_shmat,
		                            ARGS(IMM(rec->perm->id), IMM(0), IMM(SHM_RDONLY)), CRCORE_OK,
		                            0);
		s->host->call(p, "ipc: detach as the last", SYS_shmdt, ARGS(RESULT(op)), CRCORE_EQUAL, 0);
	}
}

static int touch(void *arg)
{
	void *p = shmat(*(int *)arg, NULL, SHM_RDONLY);

	return p == (void *)-1 || shmdt(p) < 0 ? -errno : 0;
}

int shm_settle(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->nshm; i++) {
		const Ipc__Shm *rec = s->shm[i]->rec;
		int id = (int)rec->perm->id;
		if (rec->perm->kept)
			continue;
		if (rec->lpid && !ipc_task(s, (pid_t)rec->lpid))
			r = ipc_run_as(s, (pid_t)rec->lpid, touch, &id, err);
		if (r == 0 && rec->removed && shmctl(id, IPC_RMID, NULL) < 0)
			r = item_fail(&s->shm[i]->item, -errno, "cannot be removed", err);
	}
	return r;
}
