/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last touches to an address space: protection, advice, locks and names of
 * its mappings, and what the kernel notes about it as a whole (where code, heap,
 * arguments and environment are, the auxiliary vector, the executable).
 */
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/memory/vmas.h"
#include "core/restore/restore.h"
#include "core/task/task.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

/* Bytes of a mapping that were mapped afresh, and whether pages were read into it. */
static void history(const struct layout *l, const Crcore__Vma *v, uint64_t *fresh, bool *filled,
                    unsigned *map_at, unsigned *fill_at)
{
	*fresh = 0;
	while (*map_at < l->nmaps && l->maps[*map_at].end <= v->start)
		++*map_at;
	for (unsigned i = *map_at; i < l->nmaps && l->maps[i].start < v->end; i++)
		*fresh += l->maps[i].end - l->maps[i].start;
	while (*fill_at < l->nfills &&
	       l->fills[*fill_at].addr + l->fills[*fill_at].pages * PAGE <= v->start)
		++*fill_at;
	*filled = *fill_at < l->nfills && l->fills[*fill_at].addr < v->end;
}

/* kept: of what was staged, whose advice on huge pages may be another. */
static void advise(struct stub *s, const Crcore__Vma *v, bool kept)
{
	for (unsigned bit = 1; bit < 64; bit++) {
		bool huge = bit == MADV_HUGEPAGE || bit == MADV_NOHUGEPAGE; /* done when mapped */
		if ((v->advice >> bit & 1) && (!huge || kept))
			CALL(s->p, "advise", SYS_madvise, EXPECT_EQUAL, 0, IMM(v->start),
			     IMM(v->end - v->start), IMM(bit));
	}
}

/* What has been filled already moves where it is to be, if it is elsewhere. */
static void set_policy(struct stub *s, const Crcore__Vma *v)
{
	if (v->memory_nodes.len) /* the kernel leaves the last of the bits out */
		CALL(s->p, "set memory policy", SYS_mbind, EXPECT_EQUAL, 0, IMM(v->start),
		     IMM(v->end - v->start), IMM(v->memory_policy),
		     DATA(prog_data(s->p, v->memory_nodes.data, v->memory_nodes.len)),
		     IMM(v->memory_nodes.len * 8 + 1), IMM(MPOL_MF_MOVE));
}

static void finish(struct stub *s, const Crcore__Vma *v, bool kept, bool made_writable)
{
	const uint64_t len = v->end - v->start;

	if (kept ? v->prot != (PROT_READ | PROT_WRITE) : made_writable && !(v->prot & PROT_WRITE))
		CALL(s->p, "protect", SYS_mprotect, EXPECT_EQUAL, 0, IMM(v->start), IMM(len),
		     IMM(v->prot));
	set_policy(s, v);
	advise(s, v, kept);
	if (v->locked) /* a mapping without access is locked, but the call says ENOMEM */
		CALL(s->p, "lock", SYS_mlock2, v->prot ? EXPECT_EQUAL : EXPECT_ANY, 0, IMM(v->start),
		     IMM(len), IMM(v->lock_onfault ? MLOCK_ONFAULT : 0));
	if (v->name && v->name[0] && s->r->own->anon_names)
		CALL(s->p, "name mapping", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_VMA),
		     IMM(PR_SET_VMA_ANON_NAME), IMM(v->start), IMM(len),
		     DATA(prog_data(s->p, v->name, strlen(v->name) + 1)));
}

void mappings_finish(struct stub *s, const struct layout *l)
{
	unsigned map_at = 0, fill_at = 0;

	for (size_t i = 0; i < s->mm->n_vmas; i++) {
		const Crcore__Vma *v = s->mm->vmas[i];
		uint64_t fresh;
		bool filled;
		if (vma_is_special(v))
			continue;
		history(l, v, &fresh, &filled, &map_at, &fill_at);
		finish(s, v, fresh < v->end - v->start, filled || (v->accounted && !v->shared));
	}
	for (size_t i = 0; i < s->mm->n_vmas; i++)
		if (s->mm->vmas[i]->sealed)
			CALL(s->p, "seal", SYS_mseal, EXPECT_EQUAL, 0, IMM(s->mm->vmas[i]->start),
			     IMM(s->mm->vmas[i]->end - s->mm->vmas[i]->start), IMM(0));
}

/* What concerns mappings that are made from now on. */
void mm_close(struct stub *s)
{
	if (s->mm && s->mm->mlock_future)
		CALL(s->p, "lock future mappings", SYS_mlockall, EXPECT_EQUAL, 0,
		     IMM(s->mm->mlock_future));
	if (s->mm && s->mm->mdwe)
		CALL(s->p, "allow no writable code", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_MDWE),
		     IMM(s->mm->mdwe), IMM(0), IMM(0), IMM(0));
}

/* The executable's descriptor stands inside of data, so its number must be known:
 * one that no table of the tree uses, and no task that shares this table. */
static int fetch_exe(struct stub *s, int number, struct crcore_error *err)
{
	int fd = object_fd(s->r, s->mm->exe, err);

	if (fd < 0 && !s->r->only_plan)
		return fd;
	uint32_t op = fetch_fd(s->r, s->p, "fetch executable", fd);
	CALL(s->p, "number executable", SYS_dup3, EXPECT_EQUAL, number, RESULT(op), IMM(number),
	     IMM(0));
	close_fd(s->p, op);
	return 0;
}

int mm_map_build(struct stub *s, struct crcore_error *err)
{
	const Crcore__Mm *mm = s->mm;
	const int number = executable_fd(s->r, s->birth);
	struct prctl_mm_map map = {
		.start_code = mm->start_code, .end_code = mm->end_code, .start_data = mm->start_data,
		.end_data = mm->end_data, .start_brk = mm->start_brk, .brk = mm->brk,
		.start_stack = mm->start_stack, .arg_start = mm->arg_start, .arg_end = mm->arg_end,
		.env_start = mm->env_start, .env_end = mm->env_end,
		.auxv_size = (uint32_t)mm->auxv.len, .exe_fd = mm->exe ? (uint32_t)number : (uint32_t)-1,
	};
	int r = mm->exe ? fetch_exe(s, number, err) : 0;

	if (r < 0)
		return r;
	map.auxv = (void *)(uintptr_t)arena_put(&s->r->arena, mm->auxv.data, mm->auxv.len);
	CALL(s->p, "describe memory", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_MM), IMM(PR_SET_MM_MAP),
	     DATA(prog_data(s->p, &map, sizeof(map))), IMM(sizeof(map)), IMM(0));
	if (mm->exe)
		CALL(s->p, "close executable", SYS_close, EXPECT_EQUAL, 0, IMM(number));
	/* Before there are threads: else each waits for a grace period of the kernel. */
	for (unsigned bit = 0; bit < 32; bit++)
		if (mm->membarrier >> bit & 1)
			CALL(s->p, "register for membarrier", SYS_membarrier, EXPECT_EQUAL, 0,
			     IMM(1U << bit), IMM(0), IMM(0));
	return 0;
}
