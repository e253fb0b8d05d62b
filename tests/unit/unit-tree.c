/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of many tasks, found by their pids while it grows and when some have gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "core/task/task.h"
#include "core/task/tree.h"

enum { N = 5000 };

/* Neither in order nor without gaps. */
static pid_t pid_of(unsigned i)
{
	return (pid_t)(1 + i * 7919 % 65521 * 3);
}

static struct task *made_up(pid_t pid, bool lives)
{
	struct task *t = calloc(1, sizeof(*t));

	t->abi.pid = pid;
	t->pidfd = t->proc = -1;
	t->nthreads = lives;
	t->threads = calloc(1, sizeof(*t->threads));
	return t;
}

static void grow(struct tree *tree)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	for (unsigned i = 0; i < N; i++) {
		assert_null(tree_find(tree, pid_of(i)));
		assert_int_equal(tree_add(tree, made_up(pid_of(i), i % 3 == 0), &err), 0);
		assert_ptr_equal(tree_find(tree, pid_of(i)), tree->tasks[i]);
	}
}

static void finds_all(void **state)
{
	struct tree tree = { 0 };

	assert_null(tree_find(&tree, 1));
	grow(&tree);
	for (unsigned i = 0; i < N; i++)
		assert_ptr_equal(tree_find(&tree, pid_of(i)), tree.tasks[i]);
	assert_null(tree_find(&tree, 2));
	assert_null(tree_find(&tree, 0));
	tree_free(&tree);
	assert_null(tree_find(&tree, 1));
}

static void forgets_who_has_gone(void **state)
{
	struct tree tree = { 0 };

	grow(&tree);
	tree_drop_reaped(&tree);
	assert_int_equal(tree.ntasks, (N + 2) / 3);
	for (unsigned i = 0; i < N; i++) {
		struct task *t = tree_find(&tree, pid_of(i));
		if (i % 3)
			assert_null(t);
		else
			assert_ptr_equal(t, tree.tasks[i / 3]);
	}
	tree_free(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_all), cmocka_unit_test(forgets_who_has_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
