/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups, helpers and zombies: what follows when all are born, as planned
 * (births.h), and the barriers in between.
 *
 * A barrier has one word per live task, which those it has born add to, and one
 * word that all wait for: so a post wakes one task, and only the last one all.
 * The words only grow; thresholds add up from barrier to barrier.
 */
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"

#ifndef __WALL
#define __WALL 0x40000000
#endif

static const struct birth *birth_of(const struct stub *s)
{
	return &s->r->births.v[s->birth];
}

/* ---- barriers ---------------------------------------------------------------------- */

void barrier_arrive(struct stub *s, enum barrier b)
{
	const struct birth *birth = birth_of(s);
	struct restore *r = s->r;

	if (s->rec && !birth->zombie) {
		unsigned due = s->reporters[0];
		for (enum barrier i = GROUPED; i <= b; i++)
			due += s->reporters[i == GROUPED ? 1 : 2];
		if (due)
			OP(s->p, "wait for children", OP_WAIT, EXPECT_ANY, 0, IMM(s->arrivals), IMM(due));
	}
	if (r->births.n == 1 && b != BUILT)
		return;
	OP(s->p, "report", OP_POST, EXPECT_ANY, 0,
	   IMM(birth->up < 0 ? r->go[b] : r->stubs[birth->up].arrivals), IMM(1));
}

void barrier_wait(struct stub *s, prog *p, enum barrier b)
{
	static const char *const labels[] = { "wait until all are born", "wait until groups exist",
		                              "wait until the family is complete",
		                              "wait until all are complete" };

	if (s->r->births.n > 1 || b == BUILT)
		OP(p, labels[b], OP_WAIT, EXPECT_ANY, 0, IMM(s->r->go[b]), IMM(1));
}

/* ---- family --------------------------------------------------------------------------- */

static void join_group(struct stub *s)
{
	const struct birth *b = birth_of(s);

	CALL(s->p, "join group", SYS_setpgid, EXPECT_EQUAL, 0, IMM(0),
	     IMM(b->joins > 0 ? b->joins : s->r->main_pgid));
}

static void reap(struct stub *s, pid_t pid)
{
	CALL(s->p, "reap helper", SYS_wait4, EXPECT_EQUAL, pid, IMM(pid), IMM(0), IMM(__WALL), IMM(0));
}

/* In round k its reaper is the only subreaper; the helpers of the round exit, and
 * what they have born becomes the reaper's. */
static void round_build(struct stub *s, unsigned k)
{
	struct restore *r = s->r;
	const struct births *b = &r->births;
	unsigned mine = 0;

	for (unsigned i = s->first_born; i; i = r->stubs[i].next_born)
		if (b->v[i].task < 0 && b->v[i].round == (int)k) {
			reap(s, b->v[i].pid);
			mine++;
		}
	if (mine)
		OP(s->p, "report handover", OP_POST, EXPECT_ANY, 0, IMM(r->round_done[k]), IMM(mine));
	if (b->rounds[k] != (int)s->birth)
		return;
	OP(s->p, "wait for turn", OP_WAIT, EXPECT_ANY, 0, IMM(r->round_word), IMM(k));
	CALL(s->p, "be subreaper", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_CHILD_SUBREAPER), IMM(1));
	OP(s->p, "let helpers exit", OP_POST, EXPECT_ANY, 0, IMM(r->round_ready[k]), IMM(1));
	OP(s->p, "wait for handover", OP_WAIT, EXPECT_ANY, 0, IMM(r->round_done[k]),
	   IMM(r->round_helpers[k]));
	CALL(s->p, "be no subreaper", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_CHILD_SUBREAPER), IMM(0));
	OP(s->p, "end turn", OP_POST, EXPECT_ANY, 0, IMM(r->round_word), IMM(1));
}

/* Helpers are reaped, zombies are only waited for. */
static void children_end(struct stub *s)
{
	const struct births *b = &s->r->births;
	const struct stub *all = s->r->stubs;

	for (unsigned i = s->first_born; i; i = all[i].next_born)
		if (b->v[i].task < 0 && b->v[i].round < 0)
			reap(s, b->v[i].pid);
	for (unsigned i = s->first_child; i; i = all[i].next_child)
		if (b->v[i].zombie)
			CALL(s->p, "wait for zombie", SYS_waitid, EXPECT_EQUAL, 0, IMM(P_PID),
			     IMM(b->v[i].pid), IMM(0), IMM(WEXITED | WNOWAIT | __WALL), IMM(0));
}

void family_build(struct stub *s)
{
	const struct birth *b = birth_of(s);

	barrier_arrive(s, BORN);
	if (s->r->births.n == 1)
		return;
	barrier_wait(s, s->p, BORN);
	if (b->joins && !b->joins_late)
		join_group(s);
	if (s->rec)
		barrier_arrive(s, GROUPED);
	barrier_wait(s, s->p, GROUPED);
	if (b->joins_late)
		join_group(s);
	if (b->task < 0 && b->round >= 0)
		OP(s->p, "wait for turn", OP_WAIT, EXPECT_ANY, 0, IMM(s->r->round_ready[b->round]), IMM(1));
	for (unsigned k = 0; k < s->r->births.nrounds; k++)
		round_build(s, k);
	children_end(s);
	if (!s->rec || b->zombie)
		return;
	barrier_arrive(s, FAMILY);
	barrier_wait(s, s->p, FAMILY);
}
