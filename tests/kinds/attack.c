/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezes a tree, runs a program in every thread of it, and lets it go, again
 * and again: attack PID ROUNDS. What a dump does to a tree, without the dump.
 * run-attack kills it at random moments, or makes its operations fail
 * (CRCORE_FAIL_OP), and the tree must not notice. Prints one line per failure.
 *
 * Assumes that no two processes of the tree share their memory.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/task/task.h"
#include "core/util/util.h"

#define TIMEOUT 10000000000ull

static int write_program(struct thread *t, struct crcore_error *err)
{
	prog *p = t->ask = prog_new();

	if (!p)
		return crcore_fail(err, -ENOMEM, "out of memory");
	uint32_t limits = prog_data(p, NULL, 16), stack = prog_data(p, NULL, 24);
	CALL(p, "ask pid", SYS_getpid, EXPECT_EQUAL, t->task->abi.pid);
	CALL(p, "ask tid", SYS_gettid, EXPECT_EQUAL, t->tid);
	CALL(p, "ask altstack", SYS_sigaltstack, EXPECT_OK, 0, IMM(0), DATA(stack));
	CALL(p, "ask limit", SYS_prlimit64, EXPECT_OK, 0, IMM(0), IMM(7), IMM(0), DATA(limits));
	uint32_t m = CALL(p, "map", SYS_mmap, EXPECT_OK, 0, IMM(0), IMM(8192), IMM(PROT_NONE),
	                  IMM(MAP_PRIVATE | MAP_ANONYMOUS), IMM(-1), IMM(0));
	CALL(p, "unmap", SYS_munmap, EXPECT_EQUAL, 0, RESULT(m), IMM(8192));
	return 0;
}

static int run_programs(struct tree *tree, struct inject **in, struct crcore_error *err)
{
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		size_t size = PAGE;
		if (!t->nthreads)
			continue;
		for (unsigned k = 0; r == 0 && k < t->nthreads; k++) {
			r = write_program(&t->threads[k], err);
			size += prog_size(t->threads[k].ask) + PAGE;
		}
		if (r == 0 && (r = inject_open(&t->threads[0], size, &in[n], err)) == 0)
			r = inject_map(&in[n++], 1, err);
		for (unsigned k = 0; r == 0 && k < t->nthreads; k++)
			r = inject_place(in[n - 1], &t->threads[k], t->threads[k].ask, err);
	}
	if (r == 0)
		r = inject_run(in, n, TIMEOUT, err);
	for (unsigned i = 0; i < n; i++)
		inject_close(in[i]);
	return r;
}

static int attack_once(pid_t pid, struct crcore_error *err)
{
	struct tree tree = { 0 };
	int r = tree_freeze(pid, TIMEOUT, NULL, &tree, err);

	if (r < 0)
		return r;
	struct inject **in = calloc(tree.ntasks, sizeof(*in));
	r = in ? run_programs(&tree, in, err) : crcore_fail(err, -ENOMEM, "out of memory");
	free(in);
	tree_thaw(&tree, LEAVE_RUNNING, NULL);
	tree_free(&tree);
	return r;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: attack PID ROUNDS\n");
		return 2;
	}
	for (long i = atol(argv[2]); i > 0; i--) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		if (attack_once(atoi(argv[1]), &err) == 0)
			continue;
		printf("%d: %s: %s; %s\n", err.pid, err.object, err.message, err.advice);
		failed = 1;
	}
	return failed;
}
