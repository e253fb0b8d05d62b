/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a merged image go, and what a later image has of an earlier one: both
 * against plain arrays, with one element a byte or page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/memory/compact.h"
#include "core/memory/since.h"
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

/* ---- what a later image has of an earlier one ---- */

static Crcore__Run run_of(uint64_t page, uint64_t pages, Crcore__Source source, uint64_t offset,
                          uint32_t mm)
{
	Crcore__Run r = CRCORE__RUN__INIT;

	r.addr = page * PAGE;
	r.pages = pages;
	r.source = source;
	r.offset = offset * PAGE;
	r.mm = mm;
	return r;
}

static Crcore__Mm mm_of(uint32_t id, Crcore__Run **runs, size_t n)
{
	Crcore__Mm m = CRCORE__MM__INIT;

	m.id = id;
	m.runs = runs;
	m.n_runs = n;
	return m;
}

static void expect(const struct spans *s, const struct span *want, size_t n)
{
	assert_int_equal(s->n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(s->v[i].start, want[i].start * PAGE);
		assert_int_equal(s->v[i].end, want[i].end * PAGE);
		assert_int_equal(s->v[i].val, want[i].val * PAGE);
	}
}

static void test_since(void **unused)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	Crcore__Run a[] = { run_of(10, 4, CRCORE__SOURCE__PAGES, 0, 0),
		            run_of(14, 2, CRCORE__SOURCE__ZERO, 0, 0),
		            run_of(16, 4, CRCORE__SOURCE__PAGES, 7, 0) };
	Crcore__Run b[] = { run_of(50, 3, CRCORE__SOURCE__OTHER, 11, 7),
		            run_of(53, 1, CRCORE__SOURCE__PAGES, 90, 0),
		            run_of(60, 1, CRCORE__SOURCE__GUARD, 0, 0),
		            run_of(70, 2, CRCORE__SOURCE__OTHER, 17, 7) };
	Crcore__Run *ar[] = { &a[0], &a[1], &a[2] }, *br[] = { &b[0], &b[1], &b[2], &b[3] };
	Crcore__Mm first = mm_of(7, ar, 3), second = mm_of(9, br, 4);
	Crcore__Mm *mms[] = { &first, &second };
	struct spans v[2] = { { 0 }, { 0 } };

	assert_int_equal(since_pages(mms[0], mms, 0, v, &v[0], &err), 0);
	assert_int_equal(since_pages(mms[1], mms, 1, v, &v[1], &err), 0);
	expect(&v[0], (struct span[]){ { 10, 14, 0, 0 }, { 16, 20, 7, 0 } }, 2);
	expect(&v[1], (struct span[]){ { 50, 53, 1, 0 }, { 53, 54, 90, 0 }, { 70, 72, 8, 0 } }, 3);
	spans_free(&v[0]);
	spans_free(&v[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compact), cmocka_unit_test(test_order), cmocka_unit_test(test_since),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
