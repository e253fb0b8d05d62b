/* SPDX-License-Identifier: Apache-2.0 */
/* NUMA policies of an image on machines that have other nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <linux/mempolicy.h>
#include <cmocka.h>
#include "core/restore/restore.h"
#include "core/task/task.h"

struct image {
	struct core_records rec;
	Crcore__Task task, *tasks[1];
	Crcore__Thread thread, *threads[1];
	Crcore__Mm mm, *mms[1];
	Crcore__Vma vma, *vmas[1];
};

static ProtobufCBinaryData nodes(uint8_t bits)
{
	ProtobufCBinaryData d = { NODES / 8, calloc(1, NODES / 8) };

	d.data[0] = bits;
	return d;
}

static void make(struct image *im, uint8_t of_thread, uint32_t policy, uint8_t of_mapping)
{
	crcore__task__init(&im->task);
	crcore__thread__init(&im->thread);
	crcore__mm__init(&im->mm);
	crcore__vma__init(&im->vma);
	im->rec = (struct core_records){ .tasks = im->tasks, .ntasks = 1, .mms = im->mms, .nmms = 1 };
	im->tasks[0] = &im->task;
	im->mms[0] = &im->mm;
	im->task.threads = im->threads;
	im->task.n_threads = 1;
	im->threads[0] = &im->thread;
	im->mm.vmas = im->vmas;
	im->mm.n_vmas = 1;
	im->vmas[0] = &im->vma;
	im->thread.memory_policy = MPOL_BIND;
	im->thread.memory_nodes = nodes(of_thread);
	im->vma.memory_policy = policy;
	im->vma.memory_nodes = nodes(of_mapping);
}

/* allowed: nodes 0 and 1. Returns what became of it; kept: both policies were. */
static int check(uint8_t of_thread, uint32_t policy, uint8_t of_mapping, bool any, bool kept)
{
	const uint8_t allowed[NODES / 8] = { 3 };
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image im;

	make(&im, of_thread, policy, of_mapping);
	int r = nodes_fit(&im.rec, allowed, any, &err);
	assert_int_equal(r, err.code);
	assert_int_equal(err.advice[0] != 0, r < 0);
	assert_int_equal(im.thread.memory_nodes.len && im.vma.memory_nodes.len, kept);
	assert_int_equal(im.thread.memory_policy && im.vma.memory_policy, kept);
	free(im.thread.memory_nodes.data);
	free(im.vma.memory_nodes.data);
	return r;
}

static void test_nodes(void **state)
{
	assert_int_equal(check(1, MPOL_INTERLEAVE, 2, false, true), 0);
	assert_int_equal(check(1, MPOL_INTERLEAVE, 0xfe, false, true), 0); /* some are there */
	assert_int_equal(check(4, MPOL_BIND, 1, false, true), -ENODEV);
	assert_int_equal(check(1, MPOL_PREFERRED, 8, false, true), -ENODEV);
	assert_int_equal(check(1, MPOL_LOCAL, 0, false, true), 0); /* names none */
	assert_int_equal(check(1, MPOL_BIND | MPOL_F_RELATIVE_NODES, 8, false, true), 0);
	assert_int_equal(check(4, MPOL_BIND, 1, true, false), 0);
	assert_int_equal(check(1, MPOL_PREFERRED, 8, true, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nodes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
