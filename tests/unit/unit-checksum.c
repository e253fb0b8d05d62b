/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums by the instructions of this processor are those that the library computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <xxhash.h>
#include "core/image/checksum.h"

enum { BYTES = 1 << 20, ODD = 3000 };

static void test_same(void **unused)
{
	unsigned char *v = malloc(BYTES + 1);
	uint64_t x = 1;

	assert_non_null(v);
	for (size_t i = 0; i <= BYTES; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		v[i] = (unsigned char)(x >> 56);
	}
	for (size_t n = 0; n < ODD; n++)
		assert_int_equal(checksum(v + n % 2, n), XXH3_64bits(v + n % 2, n));
	for (size_t n = BYTES; n > ODD; n = n / 2 + n / 7)
		assert_int_equal(checksum(v + 1, n), XXH3_64bits(v + 1, n));
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_same) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
