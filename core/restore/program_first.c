/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the first task does before all others: it is a copy of main, and gets
 * rid of everything but the region, the worker's pidfd, and vvar and vdso.
 * These cannot be mapped anew, only moved: until their place is free they are
 * parked behind the region, in every task, since all are copies of the first.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

#define TASK_END 0x7ffffffff000ULL /* end of user space but for the vsyscall page */

static uint64_t parked_at(const struct restore *r, unsigned i)
{
	uint64_t at = r->arena.park;

	for (unsigned k = 0; k < i; k++)
		at += r->specials[k].end - r->specials[k].start;
	return at;
}

static void move_special(struct stub *s, uint64_t from, uint64_t to, uint64_t len, bool vdso)
{
	CALL(s->p, vdso ? "move vdso" : "move vvar", SYS_mremap, EXPECT_EQUAL, (int64_t)to, IMM(from),
	     IMM(len), IMM(len), IMM(MREMAP_MAYMOVE | MREMAP_FIXED), IMM(to));
}

void first_begin(struct stub *s)
{
	struct restore *r = s->r;
	const unsigned keep = (unsigned)r->coordinator_fd;
	const uint64_t end = r->arena.remote + r->arena.limit;
	const stack_t none = { .ss_flags = SS_DISABLE };

	/* Main may have one (a sanitizer's, say), and children inherit it. */
	CALL(s->p, "drop signal stack", SYS_sigaltstack, EXPECT_EQUAL, 0,
	     DATA(prog_data(s->p, &none, sizeof(none))), IMM(0));
	if (keep > 0)
		CALL(s->p, "close descriptors", SYS_close_range, EXPECT_EQUAL, 0, IMM(0), IMM(keep - 1),
		     IMM(0));
	CALL(s->p, "close descriptors", SYS_close_range, EXPECT_EQUAL, 0, IMM(keep + 1 + r->nbanks),
	     IMM(~0U), IMM(0));
	for (unsigned i = 0; i < r->nspecials; i++)
		move_special(s, r->specials[i].start, parked_at(r, i),
		             r->specials[i].end - r->specials[i].start, r->specials[i].vdso);
	const uint64_t park_end = parked_at(r, r->nspecials);
	CALL(s->p, "unmap crcore", SYS_munmap, EXPECT_EQUAL, 0, IMM(0), IMM(r->arena.remote));
	if (r->arena.park > end)
		CALL(s->p, "unmap crcore", SYS_munmap, EXPECT_EQUAL, 0, IMM(end),
		     IMM(r->arena.park - end));
	CALL(s->p, "unmap crcore", SYS_munmap, EXPECT_EQUAL, 0, IMM(park_end),
	     IMM(TASK_END - park_end));
}

/* The records of vvar and vdso are in the order of addresses, as the parked
 * pieces are; load.c saw to it that they fit. */
void specials_unpark(struct stub *s)
{
	struct restore *r = s->r;
	unsigned i = 0;

	for (size_t k = 0; k < s->mm->n_vmas && i < r->nspecials; k++) {
		const Crcore__Vma *v = s->mm->vmas[k];
		if (v->backing != CRCORE__BACKING__VDSO && v->backing != CRCORE__BACKING__VVAR)
			continue;
		move_special(s, parked_at(r, i), v->start, v->end - v->start,
		             v->backing == CRCORE__BACKING__VDSO);
		i++;
	}
	if (i == 0 && r->nspecials) /* it had unmapped its own */
		CALL(s->p, "unmap vdso", SYS_munmap, EXPECT_EQUAL, 0, IMM(r->arena.park),
		     IMM(parked_at(r, r->nspecials) - r->arena.park));
}
