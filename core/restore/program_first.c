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
		at += r->specials.v[k].end - r->specials.v[k].start;
	return at;
}

static void move_special(struct stub *s, const struct special *x, uint64_t from, uint64_t to)
{
	const uint64_t len = x->end - x->start;

	CALL(s->p, x->vdso ? "move vdso" : "move vvar", SYS_mremap, EXPECT_EQUAL, (int64_t)to,
	     IMM(from), IMM(len), IMM(len), IMM(MREMAP_MAYMOVE | MREMAP_FIXED), IMM(to));
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
	for (unsigned i = 0; i < r->specials.n; i++)
		move_special(s, &r->specials.v[i], r->specials.v[i].start, parked_at(r, i));
	const uint64_t park_end = parked_at(r, r->specials.n);
	CALL(s->p, "unmap crcore", SYS_munmap, EXPECT_EQUAL, 0, IMM(0), IMM(r->arena.remote));
	if (r->arena.park > end)
		CALL(s->p, "unmap crcore", SYS_munmap, EXPECT_EQUAL, 0, IMM(end),
		     IMM(r->arena.park - end));
	CALL(s->p, "unmap crcore", SYS_munmap, EXPECT_EQUAL, 0, IMM(park_end),
	     IMM(TASK_END - park_end));
}

/* A program may have unmapped some of its own (valgrind has no vdso). */
void specials_unpark(struct stub *s)
{
	struct restore *r = s->r;
	const Crcore__Vma *v[SPECIALS_MAX];

	specials_match(&r->specials, s->mm, v); /* machine.c saw to it that they fit */
	for (unsigned i = 0; i < r->specials.n; i++) {
		const struct special *x = &r->specials.v[i];
		if (v[i])
			move_special(s, x, parked_at(r, i), v[i]->start);
		else
			CALL(s->p, "unmap vdso", SYS_munmap, EXPECT_EQUAL, 0, IMM(parked_at(r, i)),
			     IMM(x->end - x->start));
	}
}
