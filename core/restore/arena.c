/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region of a restore: one memfd that every task of the tree maps at the
 * same address. Programs are placed in it one behind the other.
 *
 *   [ struct region | interpreter | programs and words ... ] [ parking place ]
 *
 * Its size must be known before the hole for it is looked for, and the programs
 * are written afterwards: so the hole is large by a wide margin, and the memfd
 * has pages only where something was written.
 */
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"
#include "core/task/inject.h"
#include "parasite/blob.h"

#define INTERPRETER_AT PAGE
#define PROGRAMS_AT (INTERPRETER_AT + ALIGN_UP(interpreter_blob_size, PAGE))

/* Reads of an address space's pages (program_fill.c). */
static uint64_t reads(const Crcore__Mm *mm)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < mm->n_runs; i++)
		pages += mm->runs[i]->pages;
	return pages * PAGE / FILL_CALL;
}

/* What plugins have tasks do stands in their records: small ones, each an operation or two. */
static uint64_t plugin_records(const Crcore__Manifest *m)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->n_files; i++) {
		const Crcore__File *f = m->files[i];
		if (strncmp(f->name, "core.", 5) && !strcmp(f->name + strlen(f->name) - 4, ".img"))
			bytes += f->length;
	}
	return bytes;
}

static uint64_t task_size(const Crcore__Task *t)
{
	uint64_t size = (t->n_timers + t->n_pending) * (1 << 10);

	for (size_t i = 0; i < t->n_threads; i++) {
		const Crcore__Thread *x = t->threads[i];
		size += (32 << 10) + x->n_pending * (1 << 10);
		size += x->creds ? x->creds->n_groups * sizeof(*x->creds->groups) : 0;
	}
	return size;
}

/* Bytes per thing of the image that leads to operations; generous. */
void arena_size(struct restore *r)
{
	uint64_t size = (1 << 20) + 64 * plugin_records(r->manifest);

	size += (uint64_t)r->births.n * (64 << 10) + (uint64_t)r->births.n * r->births.n * 8;
	for (unsigned i = 0; i < r->rec.ntasks; i++)
		size += task_size(r->rec.tasks[i]);
	for (unsigned i = 0; i < r->rec.nfiles; i++)
		size += r->rec.files[i]->n_fds * (4 << 10);
	for (unsigned i = 0; i < r->rec.nmms; i++)
		size += r->rec.mms[i]->n_vmas * (4 << 10) + r->rec.mms[i]->n_runs * 1024 +
		        reads(r->rec.mms[i]) * 512;
	size += held_size(r);
	r->arena.limit = ALIGN_UP(size, 2 << 20);
	r->arena.size = r->arena.limit + PARK_SIZE;
}

int arena_open(struct restore *r, struct crcore_error *err)
{
	struct arena *a = &r->arena;

	a->remote = r->layouts.region_start;
	a->park = a->remote + a->limit;
	a->memfd = memfd_create("crcore", MFD_CLOEXEC);
	if (a->memfd < 0 || ftruncate(a->memfd, (off_t)a->limit) < 0) {
		const int code = -errno;
		if (code == -EFBIG)
			crcore_advise(err, "raise the limit of file sizes that crcore runs with (ulimit -f)");
		return crcore_fail(err, code, "no memory file for the region: %s", strerror(-code));
	}
	void *p = mmap(NULL, a->limit, PROT_READ | PROT_WRITE, MAP_SHARED, a->memfd, 0);
	if (p == MAP_FAILED)
		return crcore_fail(err, -errno, "cannot map the region (%llu bytes): %s",
		                   (unsigned long long)a->limit, strerror(errno));
	a->local = p;
	a->used = PROGRAMS_AT;
	struct region *region = p;
	region->magic = REGION_MAGIC;
	region->protocol = PROGRAM_PROTOCOL;
	region->entry = a->remote + INTERPRETER_AT + INTERPRETER_ENTRY;
	region->size = a->limit;
	region->done_want = UINT32_MAX;
	memcpy(a->local + INTERPRETER_AT, interpreter_blob, interpreter_blob_size);
	int ret = r->only_plan ? 0 : life_init(region, err);
	a->alive = ret == 0 && !r->only_plan;
	return ret;
}

/* Tells all stubs that nobody coordinates them any more. */
void arena_abandon(struct arena *a)
{
	struct region *region = arena_region(a);

	if (!a->alive)
		return;
	a->alive = false;
	a->abandoned = true;
	__atomic_or_fetch(&region->life[0], FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &region->life[0], FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void arena_close(struct arena *a)
{
	if (a->alive)
		life_release(arena_region(a));
	a->alive = false;
	if (a->local && !a->abandoned) /* else the word must stay as it is */
		munmap(a->local, a->limit);
	if (a->memfd >= 0)
		close(a->memfd);
	a->local = NULL;
	a->memfd = -1;
}

struct region *arena_region(const struct arena *a)
{
	return (struct region *)(void *)a->local;
}

void *arena_local(const struct arena *a, uint64_t remote)
{
	return a->local + (remote - a->remote);
}

/* Words lie in cache lines of their own: many tasks wait for different ones. */
uint64_t arena_word(struct arena *a)
{
	if (a->limit - a->used < 64)
		return 0;
	a->used += 64;
	return a->remote + a->used - 64;
}

uint64_t arena_put(struct arena *a, const void *bytes, size_t len)
{
	if (a->limit - a->used < ALIGN_UP(len, 64))
		return 0;
	memcpy(a->local + a->used, bytes, len);
	a->used += ALIGN_UP(len, 64);
	return a->remote + a->used - ALIGN_UP(len, 64);
}

int arena_place(struct arena *a, prog *p, uint64_t *ret_at, struct crcore_error *err)
{
	size_t size = prog_size(p);

	if (size > a->limit - a->used)
		return crcore_fail(err, -ENOSPC, "the task programs need more than %llu bytes",
		                   (unsigned long long)a->limit);
	int r = prog_place(p, a->local + a->used, a->remote + a->used, err);
	if (r < 0)
		return r;
	struct program *head = prog_local(p);
	head->region = a->remote;
	head->orphan = ORPHAN_EXIT;
	head->state = PROGRAM_RUN;
	*ret_at = a->remote + a->used;
	a->used += ALIGN_UP(size, 64);
	return 0;
}
