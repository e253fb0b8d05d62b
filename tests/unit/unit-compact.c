/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a merged image go: against a plain array, with one element a byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/memory/compact.h"
#include "core/util/util.h"

enum { BYTES = 300, ROUNDS = 2000 };

static uint64_t state = 1;

static unsigned dice(unsigned below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % below;
}

static void test_compact(void **unused)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct compact c = { 0 };
		bool wanted[BYTES] = { false }, taken[BYTES] = { false };
		uint64_t n = 0, len;

		for (unsigned i = dice(12) + 1; i; i--) {
			unsigned from = dice(BYTES), l = dice(BYTES - from);
			assert_true(compact_add(&c, from, l));
			for (unsigned k = from; k < from + l; k++)
				wanted[k] = true;
		}
		compact_place(&c);
		for (unsigned k = 0; k < BYTES; k++)
			n += wanted[k];
		assert_int_equal(c.length, n);
		for (unsigned k = 0; k < BYTES; k++) {
			if (!wanted[k])
				continue;
			uint64_t at = compact_find(&c, k, &len), one;
			assert_true(at < n && !taken[at] && len >= 1);
			taken[at] = true;
			for (uint64_t d = 0; d < len; d++) /* all that is said to lie behind does */
				assert_true(wanted[k + d] && compact_find(&c, k + d, &one) == at + d);
		}
		compact_by_place(&c);
		for (size_t i = 1; i < c.n; i++)
			assert_int_equal(c.v[i].at, c.v[i - 1].at + c.v[i - 1].len);
		compact_free(&c);
	}
}

/* What is referred to first comes first. */
static void test_order(void **unused)
{
	struct compact c = { 0 };
	uint64_t len;

	assert_true(compact_add(&c, 40, 10) && compact_add(&c, 10, 5) && compact_add(&c, 45, 10) &&
	            compact_add(&c, 0, 0));
	compact_place(&c);
	assert_int_equal(c.length, 20);
	assert_int_equal(compact_find(&c, 40, &len), 0);
	assert_int_equal(compact_find(&c, 10, &len), 10);
	assert_int_equal(len, 5);
	assert_int_equal(compact_find(&c, 50, &len), 15);
	assert_int_equal(len, 5);
	compact_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compact), cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
