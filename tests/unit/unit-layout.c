/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore layouts: planned for histories made up by hand and by the dice,
 * carried out by a machine, and compared page by page, sharing included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "layout-sim.h"

static struct outcome run(struct sim *s)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct layouts l = { 0 };
	struct outcome o = { 0 };
	uint64_t room = 1 << 30;

	sim_records(s);
	for (unsigned i = 0; i < s->nmms; i++)
		if (mm_validate(s->mms[i], s->mms, s->nmms, s->pages_len, &room, &err) < 0)
			fail_msg("a record is refused: %s: %s", err.object, err.message);
	if (layouts_plan(s->tasks, s->ntasks, NULL, s->mms, s->nmms, 1 << 20, &l, &err) < 0)
		fail_msg("no plan: %s", err.message);
	const char *wrong = machine_run(s, &l, &o);
	if (wrong)
		fail_msg("%s", wrong);
	assert_int_equal(o.splits, 0);
	assert_int_equal(o.lost > 0, l.lost > 0);
	layouts_free(&l);
	return o;
}

/* ---- by hand ------------------------------------------------------------------------- */

static void one_process(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 1);
	sim_map(&s, &s.procs[0], 10, 20, SIM_ANON);
	sim_write(&s, &s.procs[0], 12, 5);
	assert_int_equal(run(&s).lost, 0);
	sim_end(&s);
}

static void forks_share(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 2);
	sim_map(&s, &s.procs[0], 10, 50, SIM_ANON);
	sim_write(&s, &s.procs[0], 10, 50);
	for (unsigned i = 0; i < 20; i++)
		sim_fork(&s, &s.procs[0], false);
	struct outcome o = run(&s);
	assert_int_equal(o.lost, 0);
	assert_true(o.ops <= 2); /* one mapping and one fill for all of them */
	sim_end(&s);
}

static void each_fork_moves_a_page(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 3);
	sim_map(&s, &s.procs[0], 10, 50, SIM_ANON);
	sim_write(&s, &s.procs[0], 10, 50);
	for (unsigned i = 0; i < 20; i++)
		sim_move(sim_fork(&s, &s.procs[0], false), 15 + i, 65 + i, 1);
	struct outcome o = run(&s);
	assert_int_equal(o.lost, 0);
	assert_true(o.ops <= 2 + 20);
	sim_end(&s);
}

/* Older children have what the parent had then, each in common with another. */
static void parent_goes_on_writing(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 4);
	sim_map(&s, &s.procs[0], 10, 10, SIM_ANON);
	for (unsigned i = 0; i < 5; i++) {
		sim_write(&s, &s.procs[0], 10 + i, 4);
		sim_fork(&s, &s.procs[0], false);
		sim_fork(&s, &s.procs[0], false);
	}
	assert_int_equal(run(&s).lost, 0);
	sim_end(&s);
}

static void children_swap_mappings(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 5);
	sim_map(&s, &s.procs[0], 10, 8, SIM_ANON);
	sim_map(&s, &s.procs[0], 30, 8, SIM_FILE_A);
	sim_map(&s, &s.procs[0], 50, 8, SIM_NORESERVE);
	for (unsigned i = 0; i < 3; i++)
		sim_write(&s, &s.procs[0], 10 + 20 * i, 8);
	struct sim_proc *c = sim_fork(&s, &s.procs[0], false);
	sim_move(c, 10, 70, 8); /* in a circle */
	sim_move(c, 30, 10, 8);
	sim_move(c, 50, 30, 8);
	sim_move(c, 70, 50, 8);
	c = sim_fork(&s, &s.procs[0], false);
	sim_move(c, 10, 70, 8); /* onto itself, one page on */
	sim_move(c, 70, 11, 8);
	assert_int_equal(run(&s).lost, 0);
	sim_end(&s);
}

/* A mapping gives way to another at the same address; both are shared by children. */
static void same_place_other_mapping(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 6);
	for (unsigned i = 0; i < 3; i++) {
		sim_map(&s, &s.procs[0], 10, 8, i == 1 ? SIM_FILE_B : SIM_ANON);
		sim_write(&s, &s.procs[0], 10, 8);
		sim_fork(&s, &s.procs[0], false);
		sim_fork(&s, &s.procs[0], false);
	}
	assert_int_equal(run(&s).lost, 0);
	sim_end(&s);
}

/* A part is moved away and the hole mapped anew: all is one mapping again, and the
 * moved part and the new one claim the same place of it. */
static void hole_is_filled(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 8);
	s.merge = true;
	sim_map(&s, &s.procs[0], 10, 30, SIM_ANON);
	sim_write(&s, &s.procs[0], 10, 30);
	sim_fork(&s, &s.procs[0], false);
	sim_move(&s.procs[0], 20, 60, 5);
	sim_map(&s, &s.procs[0], 20, 5, SIM_ANON);
	sim_write(&s, &s.procs[0], 20, 5);
	for (unsigned i = 0; i < 4; i++)
		sim_fork(&s, &s.procs[0], false);
	assert_true(run(&s).lost <= 5); /* of the first child alone */
	sim_end(&s);
}

/* The one between has gone: its children hang below the root, born after it wrote. */
static void dead_between(void **state)
{
	struct sim s;

	(void)state;
	sim_begin(&s, 7);
	sim_map(&s, &s.procs[0], 10, 8, SIM_ANON);
	sim_write(&s, &s.procs[0], 10, 8);
	sim_fork(&s, &s.procs[0], false);
	struct sim_proc *q = sim_fork(&s, &s.procs[0], false);
	sim_fork(&s, q, false);
	sim_fork(&s, q, false);
	sim_write(&s, &s.procs[0], 10, 4);
	sim_fork(&s, &s.procs[0], false);
	sim_exit(&s, q);
	assert_int_equal(run(&s).lost, 0);
	sim_end(&s);
}

/* ---- by the dice ------------------------------------------------------------------------ */

static unsigned count(const char *name, unsigned usual)
{
	const char *v = getenv(name);

	return v ? (unsigned)strtoul(v, NULL, 10) : usual;
}

enum { MERGE = 1, REPARENT = 2, SHARE_VM = 4 };

static unsigned random_histories(int how, struct outcome *sum)
{
	unsigned n = count("CRCORE_LAYOUT_RUNS", 300), first = count("CRCORE_LAYOUT_FIRST", 0);

	unsigned with = 0;

	*sum = (struct outcome){ 0 };
	for (unsigned seed = first; seed < first + n; seed++) {
		struct sim s;
		sim_begin(&s, seed + 1);
		s.merge = how & MERGE;
		s.reparent = how & REPARENT;
		s.share_vm = how & SHARE_VM;
		unsigned steps = 10 + sim_random(&s, 250);
		for (unsigned i = 0; i < steps; i++)
			sim_random_step(&s);
		struct outcome o = run(&s);
		if ((o.lost || o.splits) && getenv("CRCORE_LAYOUT_TALK"))
			print_message("seed %u: %llu lost, %u split\n", seed, (unsigned long long)o.lost,
			              o.splits);
		sum->lost += o.lost;
		sum->splits += o.splits;
		with += o.lost > 0;
		sim_end(&s);
	}
	return with;
}

static void random_trees(void **state)
{
	struct outcome sum;

	(void)state;
	random_histories(0, &sum);
	assert_int_equal(sum.lost, 0);
	assert_int_equal(sum.splits, 0);
}

static void random_trees_that_merge(void **state)
{
	struct outcome sum;
	unsigned with = random_histories(MERGE, &sum);

	(void)state;
	print_message("merging: %llu pages lost in %u histories\n", (unsigned long long)sum.lost, with);
}

static void random_trees_with_orphans(void **state)
{
	struct outcome sum;
	unsigned with = random_histories(REPARENT, &sum);

	(void)state;
	print_message("orphans: %llu pages lost in %u histories\n", (unsigned long long)sum.lost, with);
}

static void random_trees_with_shared_memory(void **state)
{
	struct outcome sum;
	unsigned with = random_histories(SHARE_VM, &sum);

	(void)state;
	print_message("shared: %llu pages lost in %u histories\n", (unsigned long long)sum.lost, with);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_process),
		cmocka_unit_test(forks_share),
		cmocka_unit_test(each_fork_moves_a_page),
		cmocka_unit_test(parent_goes_on_writing),
		cmocka_unit_test(children_swap_mappings),
		cmocka_unit_test(same_place_other_mapping),
		cmocka_unit_test(hole_is_filled),
		cmocka_unit_test(dead_between),
		cmocka_unit_test(random_trees),
		cmocka_unit_test(random_trees_that_merge),
		cmocka_unit_test(random_trees_with_orphans),
		cmocka_unit_test(random_trees_with_shared_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
