/* SPDX-License-Identifier: Apache-2.0 */
/* Task programs: what is appended is what is placed, relocated; nothing else runs here. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include "core/program/program.h"

#define REMOTE 0x700000000000ULL

static const struct op *op_at(const void *local, uint32_t i)
{
	const struct program *head = local;
	return (const struct op *)((const char *)local + (head->ops - REMOTE)) + i;
}

static void *place(prog *p)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	void *local = aligned_alloc(64, prog_size(p));

	assert_non_null(local);
	assert_int_equal(prog_size(p) % 64, 0);
	assert_int_equal(prog_place(p, local, REMOTE, &err), 0);
	return local;
}

static void test_place(void **state)
{
	prog *p = prog_new();
	uint32_t path = prog_data(p, "/etc/hostname", 14), room = prog_data(p, NULL, 100);
	uint32_t o = CALL(p, "open", SYS_open, EXPECT_OK, 0, DATA(path), IMM(0));
	CALL(p, "read", SYS_read, EXPECT_EQUAL, 42, RESULT(o), DATA_AT(room, 4), IMM(96));
	OP(p, "barrier", OP_WAIT, EXPECT_ANY, 0, IMM(REMOTE), IMM(3));
	char *local = place(p);
	const struct program *head = (void *)local;
	const struct op *read = op_at(local, 1);

	assert_int_equal(prog_nops(p), 3);
	assert_int_equal(head->nops, 3);
	assert_int_equal(head->state, PROGRAM_IDLE);
	assert_int_equal(head->stack_top % 16, 0);
	assert_int_equal(head->stack_top, REMOTE + prog_size(p));
	assert_string_equal(local + (op_at(local, 0)->arg[0] - REMOTE), "/etc/hostname");
	assert_int_equal(read->code, OP_SYSCALL);
	assert_int_equal(read->nr, SYS_read);
	assert_int_equal(read->result_args, 1);
	assert_int_equal(read->arg[0], o);
	assert_int_equal(read->arg[2], 96);
	assert_int_equal(read->expect, EXPECT_EQUAL);
	assert_int_equal(read->want, 42);
	assert_ptr_equal(local + (read->arg[1] - REMOTE), (const char *)prog_answer(p, room) + 4);
	assert_int_equal(op_at(local, 2)->code, OP_WAIT);
	assert_ptr_equal(prog_local(p), local);
	assert_string_equal(prog_label(p, 2), "barrier");
	free(local);
	prog_free(p);
}

static void test_results(void **state)
{
	prog *p = prog_new();
	struct crcore_error err = CRCORE_ERROR_INIT;
	uint32_t first = CALL(p, "who", SYS_getpid, EXPECT_OK, 0);
	uint32_t second = CALL(p, "shut", SYS_close, EXPECT_EQUAL, 0, IMM(99));
	assert_int_equal(prog_result(p, first), -ENODATA);
	void *local = place(p);
	struct program *head = local;
	struct op *ops = (struct op *)op_at(local, 0);

	assert_int_equal(prog_result(p, first), -ENODATA);
	ops[0].result = 17;
	ops[0].flags = OP_DONE;
	assert_int_equal(prog_result(p, first), 17);
	assert_int_equal(prog_result(p, 5), -ENODATA);
	ops[1].result = -EBADF;
	ops[1].flags = OP_DONE;
	head->state = PROGRAM_FAILED;
	head->failed_op = second;
	assert_int_equal(prog_failure(p, 12, &err), -EBADF);
	assert_int_equal(err.pid, 12);
	assert_non_null(strstr(err.message, "shut: close"));
	assert_non_null(strstr(err.message, "EBADF"));
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	ops[1].result = 5;
	assert_int_equal(prog_failure(p, 12, &err), -EIO);
	assert_non_null(strstr(err.message, "returned 5, not 0"));
	free(local);
	prog_free(p);
}

static void test_invalid(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char local[8192];
	struct crcore_arg bad[] = { RESULT(0), DATA(0), { 7, 0, 0 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		prog *p = prog_new();
		assert_int_equal(CALL(p, "", SYS_close, EXPECT_OK, 0, bad[i]), UINT32_MAX);
		assert_int_equal(prog_data(p, NULL, 1), UINT32_MAX);
		assert_int_equal(prog_place(p, local, REMOTE, &err), -EINVAL);
		err = (struct crcore_error)CRCORE_ERROR_INIT;
		prog_free(p);
	}
	prog *p = prog_new();
	uint32_t d = prog_data(p, NULL, 8);
	assert_int_equal(CALL(p, "", SYS_close, EXPECT_OK, 0, DATA_AT(d, 9)), UINT32_MAX);
	prog_free(p);
	prog_free(NULL);
}

/* A number that a call leaves in memory becomes an argument, and a result gets into memory. */
static void test_memory(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char room[8192];
	prog *p = prog_new();
	uint32_t d = prog_data(p, NULL, 16);
	uint32_t l = prog_load(p, "take", d, 8), s = prog_store(p, "put", d, 12, 4, l);
	char *local = place(p);

	assert_int_equal(op_at(local, l)->code, OP_LOAD);
	assert_int_equal(op_at(local, s)->code, OP_STORE);
	assert_ptr_equal(local + (op_at(local, l)->arg[0] - REMOTE), (const char *)prog_answer(p, d) + 8);
	assert_ptr_equal(local + (op_at(local, s)->arg[0] - REMOTE), (const char *)prog_answer(p, d) + 12);
	assert_int_equal(op_at(local, s)->result_args, 2);
	assert_int_equal(op_at(local, s)->arg[1], l);
	assert_int_equal(op_at(local, s)->arg[2], 4);
	free(local);
	prog_free(p);
	for (int i = 0; i < 5; i++) {
		p = prog_new();
		d = prog_data(p, NULL, 16);
		l = prog_load(p, "", d, 0);
		uint32_t bad = i == 0 ? prog_load(p, "", d, 12) : i == 1 ? prog_load(p, "", d, 4) :
		               i == 2 ? prog_load(p, "", d + 1, 0) : i == 3 ? prog_store(p, "", d, 12, 8, l) :
		               prog_store(p, "", d, 0, 2, l);
		assert_int_equal(bad, UINT32_MAX);
		assert_int_equal(prog_place(p, room, REMOTE, &err), -EINVAL);
		err = (struct crcore_error)CRCORE_ERROR_INIT;
		prog_free(p);
	}
}

static void test_many(void **state)
{
	prog *p = prog_new();

	for (uint64_t i = 0; i < 5000; i++) {
		uint32_t d = prog_data(p, &i, 1 + i % 7);
		assert_int_equal(CALL(p, "n", SYS_close, EXPECT_OK, 0, DATA(d), IMM(i)), i);
	}
	void *local = place(p);
	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(op_at(local, i)->arg[1], i);
		assert_int_equal(*((const char *)local + (op_at(local, i)->arg[0] - REMOTE)), (char)i);
	}
	free(local);
	prog_free(p);
}

static void test_names(void **state)
{
	assert_string_equal(syscall_name(SYS_getpid), "getpid");
	assert_int_equal(syscall_number("openat"), SYS_openat);
	assert_int_equal(syscall_number("nonsense"), -1);
	assert_null(syscall_name(99999));
}

static void test_print(void **state)
{
	prog *p = prog_new();
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	uint32_t path = prog_data(p, "/x", 3);
	uint32_t o = CALL(p, "open it", SYS_open, EXPECT_OK, 0, DATA(path), IMM(0x10000));
	CALL(p, "", SYS_close, EXPECT_EQUAL, 0, RESULT(o));
	CALL(p, "odd", 9999, EXPECT_ANY, 0, IMM(-1));
	prog_print(p, f, "> ");
	fclose(f);
	assert_string_equal(text, ">   0 open(\"/x\", 0x10000)  # open it\n"
	                          ">   1 close(result0) = 0\n"
	                          ">   2 syscall_9999(-1) = any  # odd\n");
	free(text);
	prog_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_place), cmocka_unit_test(test_results),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_memory), cmocka_unit_test(test_many), cmocka_unit_test(test_names), cmocka_unit_test(test_print),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
