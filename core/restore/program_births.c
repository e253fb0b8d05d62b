/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The births that one process gives, as planned (births.h), in the order that
 * sessions and memory ask for: before and after setsid(), and each when the
 * memory is as the child is to get it (struct layout_step). Tasks that share an
 * address space take the steps of its layout in turn.
 */
#include <linux/sched.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

static void spawn(struct stub *s, unsigned child)
{
	struct restore *r = s->r;
	const struct birth *b = &r->births.v[child];
	struct clone_args args = {
		.flags = b->share | (b->sibling ? CLONE_PARENT : 0),
		.exit_signal = b->sibling ? 0 : (uint64_t)b->exit_signal,
		.set_tid = arena_put(&r->arena, &b->pid, sizeof(b->pid)),
		.set_tid_size = 1,
	};

	r->stubs[child].spawn_op =
		OP(s->p, b->task < 0 ? "clone helper" : b->sibling ? "clone brother" : "clone child",
		   OP_SPAWN, EXPECT_EQUAL, b->pid, DATA(prog_data(s->p, &args, sizeof(args))),
		   IMM(sizeof(args)), IMM(r->stubs[child].at));
}

static int take_steps(struct stub *s, const struct layout *l, bool early, struct crcore_error *err)
{
	struct restore *r = s->r;
	const uint64_t word = s->owner[SHARE_MM]->share[SHARE_MM].word;

	for (unsigned k = 0; k < l->nsteps; k++) {
		unsigned child = r->layout_task[l->steps[k].child];
		unsigned birth = (unsigned)births_moment(&r->births, (unsigned)r->births.v[child].task);
		if (r->births.v[birth].creator != (int)s->birth || r->births.v[birth].early != early)
			continue;
		if (word)
			OP(s->p, "wait for turn", OP_WAIT, EXPECT_ANY, 0, IMM(word), IMM(k));
		int ret = memory_step(s, l, k, err);
		if (ret < 0)
			return ret;
		spawn(s, birth);
		if (word)
			OP(s->p, "end turn", OP_POST, EXPECT_ANY, 0, IMM(word), IMM(1));
	}
	return 0;
}

static int spawn_when(struct stub *s, bool early, struct crcore_error *err)
{
	const struct restore *r = s->r;
	const struct layout *l = layout_of(s);
	int ret = l ? take_steps(s, l, early, err) : 0;

	for (unsigned i = s->first_born; i && ret == 0; i = r->stubs[i].next_born)
		if (r->births.v[i].early == early && r->stubs[i].spawn_op == UINT32_MAX)
			spawn(s, i);
	return ret;
}

int spawn_children(struct stub *s, struct crcore_error *err)
{
	const struct birth *b = &s->r->births.v[s->birth];
	int ret = spawn_when(s, true, err);

	if (b->leads_session)
		CALL(s->p, "lead session", SYS_setsid, EXPECT_EQUAL, b->pid, IMM(0));
	if (ret == 0 && b->leads_session && s->rec)
		ret = host_emit(s->r->host, &s->r->tasks[b->task], CRCORE_PHASE_SESSION, s->p, err);
	if (ret == 0)
		ret = spawn_when(s, false, err);
	if (b->leads_group)
		CALL(s->p, "lead group", SYS_setpgid, EXPECT_EQUAL, 0, IMM(0), IMM(0));
	return ret;
}
