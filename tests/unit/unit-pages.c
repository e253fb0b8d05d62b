/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of an image: the same bytes by offset and through the plain file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/image/pages.h"
#include "core/util/util.h"
#include "tests/lib/sample-image.h"

static char top[] = "/tmp/unit-pages.XXXXXX";

static int make_top(void **state)
{
	return mkdtemp(top) ? 0 : -1;
}

static int drop_top(void **state)
{
	return rmdir(top);
}

static void path_of(char ret[64], const char *name)
{
	snprintf(ret, 64, "%s/%s", top, name);
}

static void drop_image(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	assert_int_equal(rmdir(dir), 0);
}

/* An image with n pages that are full of the letters from first on. */
static void put_image(const char *dir, unsigned n, char first)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	Crcore__Manifest m;
	char pages[4 * PAGE];

	assert_true(n <= 4);
	assert_int_equal(image_create(dir, false, &img, &err), 0);
	int fd = image_bulk(img, PAGE_FILE, &err);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < n; i++)
		memset(pages + i * PAGE, first + (int)i, PAGE);
	if (n)
		assert_int_equal(image_bulk_block(img, fd, 0, pages, n * PAGE, &err), 0);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	image_close(img);
}

static void test_plain(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct pages *p;
	char dir[64], got[2 * PAGE], same[PAGE];
	uint64_t at, len;

	path_of(dir, "plain");
	put_image(dir, 3, 'a');
	assert_int_equal(image_open(dir, true, &img, &err), 0);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_int_equal(pages_length(p), 3 * PAGE);

	assert_int_equal(pages_read(p, PAGE, got, 2 * PAGE, &err), 0);
	assert_true(got[0] == 'b' && got[PAGE - 1] == 'b' && got[PAGE] == 'c' &&
	            got[2 * PAGE - 1] == 'c');
	int fd = pages_plain(p, PAGE, &at, &len);
	assert_true(fd >= 0 && at == PAGE && len == 2 * PAGE);
	assert_int_equal(pread(fd, same, PAGE, (off_t)at), PAGE);
	assert_memory_equal(same, got, PAGE);

	assert_int_equal(pages_read(p, 0, got, 0, &err), 0);
	assert_int_equal(pages_read(p, 2 * PAGE, got, 2 * PAGE, &err), -EBADMSG);
	assert_int_equal(pages_read(p, UINT64_MAX - 1, got, PAGE, NULL), -EBADMSG);
	assert_int_equal(pages_plain(p, 3 * PAGE, &at, &len), -1);
	assert_int_equal(len, 0);
	pages_close(p);
	image_close(img);
	drop_image(dir);
}

static void test_none(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct pages *p;
	char dir[64];
	uint64_t at, len;

	path_of(dir, "none");
	put_image(dir, 0, 'a');
	assert_int_equal(image_open(dir, false, &img, &err), 0);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_int_equal(pages_length(p), 0);
	assert_int_equal(pages_plain(p, 0, &at, &len), -1);
	assert_int_equal(pages_read(p, 0, dir, 1, NULL), -EBADMSG);
	pages_close(p);
	pages_close(NULL);
	image_close(img);
	drop_image(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain), cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, make_top, drop_top);
}
