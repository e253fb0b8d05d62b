/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of an image: the same bytes by offset and through the plain file, those of its
 * ancestors first; and what is refused of ancestors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
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

/* An image with n pages that are full of the letters from first on. Returns its checksum. */
static uint64_t put_child(const char *dir, unsigned n, char first, Crcore__Parent *parent)
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
	m.parent = parent;
	m.created = (uint64_t)first;
	assert_int_equal(image_seal(img, &m, &err), 0);
	image_close(img);
	return m.checksum;
}

static uint64_t put_image(const char *dir, unsigned n, char first)
{
	return put_child(dir, n, first, NULL);
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

/* ---- ancestors ---- */

static Crcore__Parent parent_of(const char *path, uint64_t checksum, uint64_t npages)
{
	Crcore__Parent p = CRCORE__PARENT__INIT;

	p.path = (char *)path;
	p.checksum = checksum;
	p.pages = npages * PAGE;
	return p;
}

/* Three generations: "ab", none of its own, "cde". */
static void put_chain(char dirs[3][64])
{
	path_of(dirs[0], "one");
	path_of(dirs[1], "two");
	path_of(dirs[2], "three");
	Crcore__Parent p = parent_of("../one", put_image(dirs[0], 2, 'a'), 2);
	p = parent_of(dirs[1], put_child(dirs[1], 0, 'x', &p), 2);
	put_child(dirs[2], 3, 'c', &p);
}

static void drop_chain(char dirs[3][64])
{
	for (unsigned i = 0; i < 3; i++)
		drop_image(dirs[i]);
}

/* 0, or what opening the pages is refused with, which must say something. */
static int try_pages(const char *dir, bool verify)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct pages *p;
	int r = image_open(dir, verify, &img, &err);

	if (r == 0) {
		r = pages_open(img, &p, &err);
		if (r == 0)
			pages_close(p);
		image_close(img);
	}
	assert_int_equal(r, err.code);
	if (r < 0)
		assert_true(err.message[0] && err.object[0] && err.advice[0]);
	return r;
}

static void test_chain(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct pages *p;
	char dirs[3][64], got[5 * PAGE];
	uint64_t at, len;

	put_chain(dirs);
	assert_int_equal(image_open(dirs[2], true, &img, &err), 0);
	assert_int_equal(image_pages_before(image_manifest(img)), 2 * PAGE);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_int_equal(pages_length(p), 5 * PAGE);
	assert_int_equal(pages_read(p, 0, got, sizeof(got), &err), 0);
	for (unsigned i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], 'a' + (int)(i / PAGE));
	int old = pages_plain(p, PAGE, &at, &len);
	assert_true(old >= 0 && at == PAGE && len == PAGE);
	int own = pages_plain(p, 3 * PAGE, &at, &len);
	assert_true(own >= 0 && own != old && at == PAGE && len == 2 * PAGE);
	assert_int_equal(pages_plain(p, 5 * PAGE, &at, &len), -1);
	pages_close(p);
	image_close(img);
	drop_chain(dirs);
}

static void damage(const char *dir, const char *name, off_t at)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "!", 1, at), 1);
	close(fd);
}

static void test_refusals(void **state)
{
	char dirs[3][64], away[64];

	path_of(away, "away");
	put_chain(dirs);
	assert_int_equal(try_pages(dirs[2], true), 0);
	assert_int_equal(rename(dirs[0], away), 0);           /* missing */
	assert_int_equal(try_pages(dirs[2], false), -ENOENT);
	put_image(dirs[0], 2, 'b');                           /* foreign */
	assert_int_equal(try_pages(dirs[2], false), -ESTALE);
	drop_image(dirs[0]);
	assert_int_equal(mkdir(dirs[0], 0700), 0);            /* no image */
	assert_int_equal(try_pages(dirs[2], false), -ENOENT);
	assert_int_equal(rmdir(dirs[0]), 0);
	assert_int_equal(symlink(dirs[2], dirs[0]), 0);       /* a circle */
	assert_int_equal(try_pages(dirs[2], false), -ELOOP);
	assert_int_equal(unlink(dirs[0]), 0);
	assert_int_equal(rename(away, dirs[0]), 0);
	assert_int_equal(try_pages(dirs[2], true), 0);
	damage(dirs[0], PAGE_FILE, PAGE + 7);                 /* changed */
	assert_int_equal(try_pages(dirs[2], false), 0);
	assert_int_equal(try_pages(dirs[2], true), -EBADMSG);
	damage(dirs[0], "manifest", 20);
	assert_int_equal(try_pages(dirs[2], false), -EBADMSG);
	drop_chain(dirs);
}

static void test_wrong_count(void **state)
{
	char dirs[2][64];

	path_of(dirs[0], "one");
	path_of(dirs[1], "two");
	Crcore__Parent p = parent_of("../one", put_image(dirs[0], 2, 'a'), 3);
	put_child(dirs[1], 1, 'c', &p);
	assert_int_equal(try_pages(dirs[1], false), -EBADMSG);
	drop_image(dirs[1]);
	p.pages = PAGE + 1;
	put_child(dirs[1], 1, 'c', &p);
	assert_int_equal(try_pages(dirs[1], false), -EBADMSG);
	drop_image(dirs[1]);
	drop_image(dirs[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain), cmocka_unit_test(test_none),
		cmocka_unit_test(test_chain), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_wrong_count),
	};

	return cmocka_run_group_tests(tests, make_top, drop_top);
}
