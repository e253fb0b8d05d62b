/* SPDX-License-Identifier: Apache-2.0 */
/* The tasks of a restored tree leave the region of the interpreter behind. */
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"
#include "core/task/call.h"
#include "core/task/task.h"

/* The vdso's own instruction, else one of the program, else (its result does not
 * matter then) the interpreter's, which is gone when the call returns. */
static int find_insn(const struct stub *s, uint64_t *ret, struct crcore_error *err)
{
	const Crcore__Mm *mm = s->mm;
	const struct arena *a = &s->r->arena;

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < mm->n_vmas; i++) {
			struct crcore_error ignored = CRCORE_ERROR_INIT;
			const Crcore__Vma *v = mm->vmas[i];
			bool right = pass ? (v->prot & 4) && v->backing == CRCORE__BACKING__FILE
			                  : v->backing == CRCORE__BACKING__VDSO;
			if (right &&
			    find_syscall_insn((pid_t)s->rec->pid, v->start, v->end, ret, &ignored) == 0)
				return 0;
		}
	return find_syscall_insn((pid_t)s->rec->pid, a->remote + PAGE, a->remote + 4 * PAGE, ret, err);
}

int restore_leave_region(struct restore *r, struct crcore_error *err)
{
	cleanup_free struct call *calls = calloc(r->births.n + 1, sizeof(*calls));
	size_t n = 0;
	int ret = 0;

	if (!calls)
		return crcore_no_memory(err);
	for (size_t i = 0; ret == 0 && i < r->births.n; i++) {
		struct stub *s = &r->stubs[i];
		if (!s->mm)
			continue;
		calls[n] = (struct call){ .tid = (pid_t)s->rec->pid, .options = PTRACE_O_EXITKILL,
			.nr = SYS_munmap, .args = { r->arena.remote, r->arena.limit } };
		ret = find_insn(s, &calls[n++].insn, err);
	}
	if (ret == 0)
		calls_make(calls, n);
	for (size_t i = 0; ret == 0 && i < n; i++) {
		if (calls[i].r < 0)
			ret = call_error(&calls[i], err);
		else if (calls[i].result < 0)
			ret = crcore_fail(err, (int)calls[i].result, "thread %d cannot unmap the region: %s",
			                  calls[i].tid, strerror((int)-calls[i].result));
	}
	return ret;
}
