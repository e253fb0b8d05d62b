/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying pages to an image in rounds: each page is where its run says, whatever the sizes of
 * the rounds, and rounds waste nothing. Lists of runs and of ranges that this needs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "core/image/pages.h"
#include "core/memory/save_priv.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

enum { PAGES = 9000 };

static uint64_t state = 1;

static unsigned dice(unsigned below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % below;
}

/* ---- rounds -------------------------------------------------------------------------------- */

/* Page n is full of n + 1, but every fifth is zero: those are not stored. */
static int made_file(void)
{
	uint64_t words[PAGE / 8];
	int fd = memfd_create("pages", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (uint64_t n = 0; n < PAGES; n++) {
		for (size_t i = 0; i < PAGE / 8; i++)
			words[i] = n % 5 ? n + 1 : 0;
		assert_int_equal(pwrite(fd, words, PAGE, (off_t)(n * PAGE)), PAGE);
	}
	return fd;
}

static void run_round(struct store *s, struct source *src, unsigned *at, unsigned n)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	s->njobs = 0;
	s->pages = 0;
	for (unsigned i = 0, part; i < n; i += part) {
		part = 1 + dice(n - i < 3 ? n - i : 3);
		assert_int_equal(store_add(s, src, (uint64_t)(*at + i) * PAGE, part, false, false, &err), 0);
	}
	*at += n;
	if (store_run(s, &err) < 0)
		fail_msg("%s", err.message);
}

/* waste: of bytes, where only one file is written, by several. */
static void check_pages(const struct runs *runs, unsigned n, uint64_t waste)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct pages *p;
	uint64_t words[PAGE / 8], seen = 0;

	assert_int_equal(image_open(folder, false, &img, &err), 0);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_in_range(pages_length(p), (uint64_t)n * PAGE, (uint64_t)n * PAGE + waste);
	for (size_t i = 0; i < runs->n; i++)
		for (uint64_t k = 0; k < runs->v[i]->pages; k++, seen++) {
			assert_int_equal(pages_read(p, runs->v[i]->offset + k * PAGE, words, PAGE, &err), 0);
			assert_int_equal(words[0], runs->v[i]->addr / PAGE + k + 1);
			assert_int_equal(words[PAGE / 8 - 1], words[0]);
		}
	assert_int_equal(seen, n);
	pages_close(p);
	image_close(img);
}

static void test_rounds(void **arg)
{
	static const unsigned sizes[][5] = {
		{ 100, 300, 1, 0, 5 }, { 0, 0, 0, 0, 7 }, { 256, 256, 1, 255, 0 }, { 1, 1, 1, 1, 1 },
		{ 5000, 513, 20, 2600, 300 }, { 255, 2, 0, 0, 0 }, { 700, 0, 0, 0, 0 },
		{ 20, 5000, 0, 0, 30 }, { 20, 0, 0, 0, 5000 }, { 300, 5, 0, 0, 5000 },
	};
	int fd = made_file();

	(void)arg;
	for (unsigned t = 0; t < 2 * ARRAY_SIZE(sizes); t++) {
		const unsigned *size = sizes[t / 2];
		const bool packs = t % 2;
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct runs runs = { 0 }, gone = { 0 };
		struct source src = { .fd = fd, .runs = &runs, .gone = &gone };
		struct image *img;
		Crcore__Manifest m;
		unsigned at = 0;

		assert_int_equal(image_create(folder, false, &img, &err), 0);
		assert_int_equal(image_set_packing(img, packs ? PACK_LZ4 : PACK_PLAIN, 0, &err), 0);
		struct store live = { .image = img, .live = true };
		struct store last = { .image = img, .later = t / 2 % 2 };
		for (unsigned i = 0; i < 4; i++)
			run_round(&live, &src, &at, size[i]);
		store_go_on(&last, &live);
		run_round(&last, &src, &at, size[4]);
		assert_int_equal(store_late(&last, &err), 0);
		assert_int_equal(runs_sort(&runs, &err), 0);
		store_settle(&last, runs.v, runs.n);
		sample_manifest(&m);
		assert_int_equal(image_seal(img, &m, &err), 0);
		image_close(img);
		check_pages(&runs, at - (at + 4) / 5, packs ? IMAGE_BLOCK : 0);
		store_free(&live);
		store_free(&last);
		runs_clear(&runs);
		folder_remove(folder);
	}
	close(fd);
}

/* ---- lists --------------------------------------------------------------------------------- */

/* Runs of one page at distinct places, some part of them in order, at the end or not. */
static void test_sort(void **arg)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	(void)arg;
	for (unsigned t = 0; t < 300; t++) {
		struct runs l = { 0 }, tail = { 0 };
		unsigned n = dice(40), from = n ? dice(n + 1) : 0;
		uint64_t pages = 0;
		for (unsigned i = 0; i < n; i++) {
			uint64_t place = i < from ? (uint64_t)(from - 1 - i) * 7 % 41 * 2 + 1 : (uint64_t)i * 2;
			assert_int_equal(runs_add(i < from ? &l : &tail, place * PAGE, 1,
			                          CRCORE__SOURCE__PAGES, place * PAGE, 0, &err), 0);
		}
		assert_int_equal(runs_move(&l, &tail, &err), 0);
		assert_int_equal(tail.n, 0);
		assert_int_equal(runs_sort(&l, &err), 0);
		for (size_t i = 0; i < l.n; i++) {
			pages += l.v[i]->pages;
			assert_int_equal(l.v[i]->addr, l.v[i]->offset);
			if (i)
				assert_true(l.v[i - 1]->addr + l.v[i - 1]->pages * PAGE < l.v[i]->addr);
		}
		assert_int_equal(pages, n);
		runs_clear(&l);
	}
}

static void expect(const struct spans *s, const struct span *want, size_t n)
{
	assert_int_equal(s->n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(s->v[i].start, want[i].start);
		assert_int_equal(s->v[i].end, want[i].end);
		assert_int_equal(s->v[i].val, want[i].val);
	}
}

static void test_ranges(void **arg)
{
	const struct spans s = { (struct span[]){ { 3, 8, 103, 1 }, { 8, 9, 0, 1 }, { 12, 33, 7, 2 } }, 3, 3 };
	struct spans cut = { 0 }, joined = { 0 }, near = { 0 };

	(void)arg;
	assert_true(spans_cut(&s, 16, &cut));
	expect(&cut, (struct span[]){ { 3, 8, 103, 0 }, { 8, 9, 0, 0 }, { 12, 16, 7, 0 }, { 16, 32, 11, 0 },
	                              { 32, 33, 27, 0 } }, 5);
	assert_true(spans_join(&s, 0, &joined));
	expect(&joined, (struct span[]){ { 3, 9, 3, 0 }, { 12, 33, 12, 0 } }, 2);
	assert_true(spans_join(&s, 3, &near));
	expect(&near, (struct span[]){ { 3, 33, 3, 0 } }, 1);
	spans_free(&cut);
	spans_free(&joined);
	spans_free(&near);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_sort), cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
