/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of an image: the same bytes by offset and through the plain file, those of its
 * ancestors first; what is refused of ancestors; packed pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "core/image/image_priv.h"
#include "core/image/pages.h"
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

static void path_of(char ret[64], const char *name)
{
	snprintf(ret, 64, "%s/%s", folder_top, name);
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
	folder_remove(dir);
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
	folder_remove(dir);
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
		folder_remove(dirs[i]);
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
	folder_remove(dirs[0]);
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
	folder_remove(dirs[1]);
	p.pages = PAGE + 1;
	put_child(dirs[1], 1, 'c', &p);
	assert_int_equal(try_pages(dirs[1], false), -EBADMSG);
	folder_remove(dirs[1]);
	folder_remove(dirs[0]);
}

/* A dump stops before its image would have more ancestors than a restore takes. */
static void test_long(void **state)
{
	enum { MOST = 1000, SOME = MOST - 1 };
	struct crcore_error err = CRCORE_ERROR_INIT;
	char dir[64], before[64];
	Crcore__Parent p;
	struct image *img;
	struct pages *pages;
	uint64_t checksum = 0;

	for (int i = 0; i <= MOST; i++) {
		snprintf(dir, sizeof(dir), "%s/%d", folder_top, i);
		p = parent_of(before, checksum, 1);
		checksum = put_child(dir, i == 0, 'a', i ? &p : NULL);
		snprintf(before, sizeof(before), "../%d", i);
		if (i < SOME)
			continue;
		assert_int_equal(image_open(dir, false, &img, &err), 0);
		assert_int_equal(pages_open(img, &pages, &err), 0);
		assert_int_equal(image_may_have_child(img, &err), i == SOME ? 0 : -EMLINK);
		pages_close(pages);
		image_close(img);
	}
	for (int i = 0; i <= MOST; i++) {
		snprintf(dir, sizeof(dir), "%s/%d", folder_top, i);
		folder_remove(dir);
	}
}

/* ---- packed ---- */

#define BLOCKS 5
#define LEN ((BLOCKS - 1) * (size_t)IMAGE_BLOCK + 3 * PAGE)

/* Blocks of text, but for one that nobody can pack. */
static unsigned char *mixed_bytes(void)
{
	unsigned char *p = malloc(LEN);
	uint64_t x = 1;

	assert_non_null(p);
	for (size_t i = 0; i < LEN; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		p[i] = i / IMAGE_BLOCK == 1 ? (unsigned char)(x >> 56) : "text, more or less"[i * i / 7 % 18];
	}
	return p;
}

static uint64_t put_packed(const char *dir, enum pack_codec codec, int level, const unsigned char *bytes)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	Crcore__Manifest m;

	assert_int_equal(image_create(dir, false, &img, &err), 0);
	assert_int_equal(image_set_packing(img, codec, level, &err), 0);
	int fd = image_bulk(img, PAGE_FILE, &err);
	assert_true(fd >= 0);
	for (uint64_t i = BLOCKS; i-- > 0;) /* not in order */
		assert_int_equal(image_bulk_block(img, fd, i, bytes + i * IMAGE_BLOCK, i + 1 < BLOCKS ?
		                                  IMAGE_BLOCK : LEN % IMAGE_BLOCK, &err), 0);
	fd = image_bulk(img, "plugin.file.bin", &err);
	assert_int_equal(image_bulk_block(img, fd, 0, bytes, PAGE, &err), 0);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	image_close(img);
	return m.checksum;
}

static void check_reads(struct pages *p, const unsigned char *bytes)
{
	static const struct { size_t at, len; } reads[] = {
		{ 0, LEN }, { 0, 1 }, { LEN - 1, 1 }, { PAGE, PAGE }, { IMAGE_BLOCK - 1, 2 },
		{ IMAGE_BLOCK - PAGE, 2 * IMAGE_BLOCK }, { 2 * IMAGE_BLOCK, IMAGE_BLOCK },
		{ LEN - IMAGE_BLOCK, IMAGE_BLOCK }, { 3 * PAGE, 0 },
	};
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *got = malloc(LEN);

	for (size_t i = 0; i < ARRAY_SIZE(reads); i++) {
		memset(got, 0xee, reads[i].len);
		assert_int_equal(pages_read(p, reads[i].at, got, reads[i].len, &err), 0);
		assert_memory_equal(got, bytes + reads[i].at, reads[i].len);
	}
	assert_int_equal(pages_read(p, LEN, got, 1, NULL), -EBADMSG);
	free(got);
}

static void test_packed(void **state)
{
	static const struct { enum pack_codec codec; int level; } how[] = {
		{ PACK_LZ4, 0 }, { PACK_LZ4, 4 }, { PACK_ZSTD, 0 }, { PACK_ZSTD, 7 },
	};
	unsigned char *bytes = mixed_bytes();
	uint64_t at, len;

	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct image *img;
		struct pages *p;
		char dir[64];
		path_of(dir, "packed");
		put_packed(dir, how[i].codec, how[i].level, bytes);
		assert_int_equal(image_open(dir, true, &img, &err), 0);
		const struct image_file *f = image_file_find(img, PAGE_FILE);
		assert_true(f->length > IMAGE_BLOCK && f->length < 2 * IMAGE_BLOCK);
		assert_int_equal(le32toh(f->index[0].codec), how[i].codec);
		assert_int_equal(le32toh(f->index[1].codec), PACK_PLAIN);
		assert_true(image_bulk_read(img, "plugin.file.bin", &len, &err) >= 0 && len == PAGE);
		assert_int_equal(pages_open(img, &p, &err), 0);
		assert_int_equal(pages_length(p), LEN);
		assert_int_equal(pages_plain(p, IMAGE_BLOCK + PAGE, &at, &len), -1);
		assert_int_equal(len, IMAGE_BLOCK - PAGE);
		assert_int_equal(pages_plain(p, LEN - PAGE, &at, &len), -1);
		assert_int_equal(len, PAGE);
		check_reads(p, bytes);
		pages_close(p);
		image_close(img);
		folder_remove(dir);
	}
	free(bytes);
}

static void test_packed_parent(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *bytes = mixed_bytes();
	struct image *img;
	struct pages *p;
	char dirs[2][64], got[3 * PAGE];

	path_of(dirs[0], "one");
	path_of(dirs[1], "two");
	Crcore__Parent parent = parent_of("../one", put_packed(dirs[0], PACK_LZ4, 0, bytes), LEN / PAGE);
	put_child(dirs[1], 2, 'c', &parent);
	assert_int_equal(image_open(dirs[1], true, &img, &err), 0);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_int_equal(pages_length(p), LEN + 2 * PAGE);
	assert_int_equal(pages_read(p, LEN - PAGE, got, sizeof(got), &err), 0);
	assert_memory_equal(got, bytes + LEN - PAGE, PAGE);
	assert_true(got[PAGE] == 'c' && got[3 * PAGE - 1] == 'd');
	pages_close(p);
	image_close(img);
	folder_remove(dirs[1]);
	folder_remove(dirs[0]);
	free(bytes);
}

/* Damage is found by the sums, and by unpacking where nobody looked at the sums. */
static void test_packed_damage(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *bytes = mixed_bytes(), *got = malloc(LEN);
	const uint8_t *part;
	struct image *img;
	struct pages *p;
	char dir[64], file[80];

	path_of(dir, "damaged");
	put_packed(dir, PACK_ZSTD, 0, bytes);
	snprintf(file, sizeof(file), "%s/" PAGE_FILE, dir);
	FILE *f = fopen(file, "r+");
	assert_true(f && fwrite("damage", 1, 6, f) == 6 && !fclose(f));
	assert_int_equal(image_open(dir, true, &img, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "checksum"));
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(image_open(dir, false, &img, &err), 0);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_int_equal(pages_read(p, 0, got, LEN, &err), -EBADMSG); /* whole blocks */
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(pages_read(p, LEN - PAGE, got, 10, &err), -EBADMSG); /* a part of one */
	assert_int_equal(pages_read(p, PAGE, got, 10, &err), 0);
	assert_int_equal(pages_read_part(p, PAGE, 10, got, &part, &err), 0);
	assert_memory_equal(part, bytes + PAGE, 10);
	pages_verify(p);
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(pages_read_part(p, LEN - PAGE, 10, got, &part, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "checksum"));
	pages_close(p);
	image_close(img);
	folder_remove(dir);
	free(bytes);
	free(got);
}

static void test_bad_index(void **state)
{
	enum { U = IMAGE_BLOCK + 100, N = 2 };
	static const struct { uint64_t length, unpacked; struct packed_block v[N]; unsigned n; bool good; }
	cases[] = {
		{ 150, U, { { 0, 50, PACK_LZ4 }, { 50, 100, PACK_PLAIN } }, 2, true },
		{ 150, U, { { 100, 50, PACK_ZSTD }, { 0, 100, PACK_PLAIN } }, 2, true },
		{ 150, U, { { 0, 50, PACK_LZ4 }, { 50, 100, PACK_LZ4 } }, 2, false },    /* no smaller */
		{ 149, U, { { 0, 50, PACK_LZ4 }, { 50, 99, PACK_PLAIN } }, 2, false },   /* too short */
		{ 150, U, { { 0, 50, PACK_LZ4 }, { 51, 100, PACK_PLAIN } }, 2, false },  /* past the end */
		{ 150, U, { { UINT64_MAX, 50, PACK_LZ4 }, { 50, 100, PACK_PLAIN } }, 2, false },
		{ 151, U, { { 0, 50, PACK_LZ4 }, { 50, 100, PACK_PLAIN } }, 2, false },  /* more in the file */
		{ 100, U, { { 0, 0, PACK_LZ4 }, { 0, 100, PACK_PLAIN } }, 2, false },    /* nothing */
		{ 150, U, { { 0, 50, PACK_CODECS }, { 50, 100, PACK_PLAIN } }, 2, false },
		{ 50, U, { { 0, 50, PACK_LZ4 } }, 1, false },                            /* one is missing */
		{ 50, UINT64_MAX, { { 0, 50, PACK_LZ4 } }, 1, false },
		{ 0, 0, { { 0 } }, 1, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image_file *f = calloc(1, sizeof(*f));
		f->fd = -1;
		f->length = cases[i].length;
		const char *why = packed_parse(f, cases[i].unpacked, cases[i].v,
		                               cases[i].n * sizeof(cases[i].v[0]));
		if (!why != cases[i].good)
			fail_msg("case %zu: %s", i, why ? why : "taken");
		image_file_free(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain), cmocka_unit_test(test_none),
		cmocka_unit_test(test_chain), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_wrong_count), cmocka_unit_test(test_long),
		cmocka_unit_test(test_packed), cmocka_unit_test(test_packed_parent),
		cmocka_unit_test(test_packed_damage),
		cmocka_unit_test(test_bad_index),
	};

	return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
