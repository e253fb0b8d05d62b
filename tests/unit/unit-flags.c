/* SPDX-License-Identifier: Apache-2.0 */
/* What is learned of the kernel's words of flags (core/memory/flags_learn.c). */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "core/memory/flags.h"

enum { READ = 1 << 0, WRITE = 1 << 1, LOCK = 1 << 2, FORK = 1 << 3, SEALED = 1 << 4 };

static const struct flag_word words[] = {
	{ 0x1000, 0x2000, READ }, { 0x3000, 0x4000, READ | WRITE }, { 0x5000, 0x6000, WRITE | LOCK },
	{ 0x7000, 0x8000, READ | WRITE | LOCK | FORK }, { 0x9000, 0xa000, READ | WRITE | FORK },
};
enum { N = sizeof(words) / sizeof(*words) };

static void learn(struct flag_bits *b)
{
	const uint32_t flags[N] = { 0, VMF_MAY_WRITE, VMF_MAY_WRITE | VMF_LOCKED,
		                    VMF_MAY_WRITE | VMF_LOCKED | VMF_DONTFORK,
		                    VMF_MAY_WRITE | VMF_DONTFORK };

	assert_int_equal(flags_learn(b, words, flags, N), 0);
}

static void test_learn(void **state)
{
	struct flag_bits b;

	learn(&b);
	assert_int_equal(b.known, READ | WRITE | LOCK | FORK);
	assert_int_equal(b.meaning[0], 0);
	assert_int_equal(b.meaning[1], VMF_MAY_WRITE);
	assert_int_equal(b.meaning[2], VMF_LOCKED);
	assert_int_equal(b.meaning[3], VMF_DONTFORK);
}

/* What is not one bit is not guessed. */
static void test_unclear(void **state)
{
	struct flag_bits b;
	uint32_t two[N] = { 0, 0, 0, VMF_DONTFORK | VMF_LOCKED, VMF_DONTFORK | VMF_LOCKED };
	uint32_t none[N] = { VMF_LOCKED, 0, VMF_LOCKED, 0, 0 };
	const struct flag_word both[] = { { 0, 0x1000, READ }, { 0x1000, 0x2000, READ | WRITE | LOCK } };
	const uint32_t of_both[] = { 0, VMF_LOCKED };

	assert_int_equal(flags_learn(&b, words, two, N), 0);
	assert_int_equal(b.known, READ | WRITE | LOCK);
	assert_int_equal(flags_learn(&b, both, of_both, 2), 0);
	assert_int_equal(b.known, READ);
	assert_int_equal(flags_learn(&b, words, none, N), -ENOTSUP);
}

static struct vma_text entry(uint64_t start, uint64_t end, const char *path)
{
	return (struct vma_text){ .start = start, .end = end, .path = path, .path_len = strlen(path) };
}

static void test_complete(void **state)
{
	const struct flag_word now[] = {
		{ 0x1000, 0x2000, READ | LOCK }, { 0x2000, 0x3000, READ | SEALED },
		{ 0x4000, 0x8000, WRITE, 1 /* a policy */ },
	};
	struct vma_text v[] = { entry(0x1000, 0x2000, ""), entry(0x2000, 0x3000, "[vdso]"),
		                entry(0x4000, 0x8000, "/lib/a"), entry(0xf000, 0x10000, "[vsyscall]") };
	struct flag_bits b;

	learn(&b);
	assert_int_equal(flags_complete(&b, now, 3, v, 4), 0);
	assert_int_equal(v[0].flags, VMF_LOCKED);
	assert_int_equal(v[2].flags, VMF_MAY_WRITE | VMF_POLICY);
	for (int i = 0; i < 4; i++)
		assert_true(v[i].has_flags);
	v[1].path = "[what]"; /* a bit that matters there, and was not learned */
	assert_int_equal(flags_complete(&b, now, 3, v, 4), -ENOTSUP);
	v[1].path = "[vdso]";
	v[2].end = 0x7000;
	assert_int_equal(flags_complete(&b, now, 3, v, 4), -EAGAIN);
	v[2].end = 0x8000;
	assert_int_equal(flags_complete(&b, now, 2, v, 4), -EAGAIN);
	assert_int_equal(flags_complete(&b, now, 3, v, 2), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_learn), cmocka_unit_test(test_unclear), cmocka_unit_test(test_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
