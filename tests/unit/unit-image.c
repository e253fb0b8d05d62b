/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image: what is written comes back, and a folder is treated with care. Built a second time
 * with sanitizers (tests/fuzz).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

/* ---- writing ---- */

static void test_round_trip(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records c;
	struct image *img;
	struct stat st;
	uint64_t len;

	folder_sample();
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_false(folder_has("core.task.img")); /* short: in the manifest */
	assert_int_equal(stat(folder_file("sample.long.img"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(folder_file("manifest"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(folder_has("manifest.tmp"));

	assert_int_equal(image_open(folder, true, &img, &err), 0);
	assert_string_equal(image_manifest(img)->machine, "x86_64");
	assert_int_equal(core_records_load(img, &c, &err), 0);
	int fd = image_bulk_read(img, "pages-1.bin", &len, &err);
	assert_true(fd >= 0 && len == 4 * PAGE);
	assert_int_equal(image_bulk_read(img, "core.task.img", &len, NULL), -ENOENT);
	image_close(img);

	assert_int_equal(c.ntasks, 4);
	assert_int_equal(core_task_index(&c, 1002), 1);
	assert_string_equal(c.tasks[0]->threads[1]->comm, "worker \"1\"");
	assert_int_equal(core_mm(&c, 3)->runs[0]->mm, 1);
	assert_int_equal(core_files(&c, 2)->fds[2]->fd, 900);
	assert_int_equal(core_fs(&c, 1)->cwd, 11);
	assert_int_equal(core_sighand(&c, 2)->n_actions, 64);
	assert_string_equal(core_object(&c, 21)->label, "/var/log/sample.log");
	assert_int_equal(core_segment(&c, 1)->size, 2 * PAGE);
	assert_null(core_object(&c, 99));
	core_records_free(&c);
}

static int count_record(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	uint64_t *n = arg, v;

	if (len != 8 + *n % 300)
		return crcore_fail(err, -EBADMSG, "wrong length");
	memcpy(&v, msg, sizeof(v));
	if (v != *n)
		return crcore_fail(err, -EBADMSG, "wrong record");
	(*n)++;
	return 0;
}

static void test_many_records(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char rec[308] = { 0 };
	Crcore__Manifest m;
	struct image *img;
	uint64_t n = 0;

	assert_int_equal(image_create(folder, false, &img, &err), 0);
	for (uint64_t i = 0; i < 100000; i++) {
		memcpy(rec, &i, sizeof(i));
		assert_int_equal(image_put(img, "sample", "many", rec, 8 + i % 300, &err), 0);
	}
	unsigned char *big = calloc(1, 3u << 20);
	assert_int_equal(image_put(img, "sample", "big", big, 3u << 20, &err), 0);
	assert_int_equal(image_put(img, "sample", "big", big, 0, &err), 0);
	free(big);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	assert_int_equal(image_put(img, "sample", "many", "x", 1, NULL), -EBADF);
	image_close(img);

	assert_int_equal(image_open(folder, true, &img, &err), 0);
	assert_int_equal(image_each(img, "sample", "many", count_record, &n, &err), 0);
	assert_int_equal(n, 100000);
	n = 1; /* the first record says 0: the callback's failure comes through */
	assert_int_equal(image_each(img, "sample", "many", count_record, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.object, "sample.many.img, record 1"));
	image_close(img);
}

/* One content written in each of the ways gives one checksum. */
static void test_bulk_ways(void **state)
{
	const size_t len = 3 * IMAGE_BLOCK + 12345;
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *p = malloc(len);
	Crcore__Manifest m;
	struct image *img;

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 2654435761u >> 13);
	assert_int_equal(image_create(folder, true, &img, &err), 0);
	int b = image_bulk(img, "b-block.bin", &err), c = image_bulk(img, "c-plain.bin", &err);
	int d = image_bulk(img, "d-mixed.bin", &err);
	assert_true(b >= 0 && c >= 0 && d >= 0);
	assert_int_equal(image_bulk(img, "b-block.bin", &err), b);
	for (int k = 3; k >= 0; k--)
		assert_int_equal(image_bulk_block(img, b, (uint64_t)k, p + (size_t)k * IMAGE_BLOCK,
		                                  k == 3 ? 12345 : IMAGE_BLOCK, &err), 0);
	assert_int_equal(write(c, p, len), (ssize_t)len);
	assert_int_equal(image_bulk_block(img, d, 0, p, IMAGE_BLOCK, &err), 0);
	assert_int_equal(pwrite(d, p + IMAGE_BLOCK, len - IMAGE_BLOCK, IMAGE_BLOCK),
	                 (ssize_t)(len - IMAGE_BLOCK));
	assert_int_equal(image_bulk_block(img, b, 5, p, IMAGE_BLOCK + 1, NULL), -EINVAL);
	assert_int_equal(image_bulk(img, "../x.bin", NULL), -EINVAL);
	assert_int_equal(image_bulk(img, "x.img", NULL), -EINVAL);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	image_close(img);

	assert_int_equal(image_open(folder, true, &img, &err), 0);
	const Crcore__Manifest *r = image_manifest(img);
	assert_int_equal(r->n_files, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(r->files[i]->length, len);
		assert_int_equal(r->files[i]->blocks.len, 4 * 8);
		assert_true(r->files[i]->xxh3 == r->files[0]->xxh3);
	}
	image_close(img);

	/* Damage is placed; without verify it is only found when asked for. */
	p[2 * IMAGE_BLOCK + 5] ^= 1;
	folder_put("b-block.bin", p, len);
	free(p);
	assert_int_equal(image_open(folder, false, &img, &err), 0);
	assert_int_equal(image_verify(img, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "from 2097152 on"));
	assert_non_null(strstr(err.object, "b-block.bin"));
	image_close(img);
}

/* ---- the folder ---- */

static void test_unsealed_is_removed(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct stat st;

	assert_int_equal(image_create(folder, false, &img, &err), 0);
	assert_true(folder_has("manifest.tmp"));
	assert_true(image_bulk(img, "pages-1.bin", &err) >= 0);
	image_close(img);
	assert_int_equal(access(folder, F_OK), -1);

	/* One that was there stays, as it was. */
	assert_int_equal(mkdir(folder, 0750), 0);
	assert_int_equal(chmod(folder, 0750), 0);
	assert_int_equal(image_create(folder, false, &img, &err), 0);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(image_put(img, "core", "task", "x", 1, &err), 0);
	image_close(img);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(rmdir(folder), 0);
}

static int try_create(void)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	int r = image_create(folder, false, &img, &err);

	if (r == 0)
		image_close(img);
	else
		assert_true(err.message[0] && err.object[0] && err.code == r);
	return r;
}

static void test_folder_is_refused(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img, *second;

	folder_sample();
	assert_int_equal(try_create(), -EEXIST);
	assert_int_equal(folder_try(), 0);
	folder_remove(folder);

	assert_int_equal(mkdir(folder, 0700), 0);
	folder_put("letter.txt", "dear", 4);
	assert_int_equal(try_create(), -ENOTEMPTY);
	assert_true(folder_has("letter.txt"));
	unlink(folder_file("letter.txt"));
	folder_put("holiday.img", "photo", 5); /* named like ours, but nobody says it is */
	assert_int_equal(try_create(), -ENOTEMPTY);
	assert_true(folder_has("holiday.img"));
	folder_remove(folder);

	assert_int_equal(image_create(folder, false, &img, &err), 0);
	assert_int_equal(try_create(), -EBUSY);
	assert_int_equal(image_open(folder, false, &second, NULL), -EBUSY);
	image_close(img);

	snprintf(folder, sizeof(folder), "%s/no/img", folder_top);
	assert_int_equal(try_create(), -ENOENT);
	assert_int_equal(folder_try(), -ENOENT);
	snprintf(folder, sizeof(folder), "%s/img", folder_top);
	int fd = open(folder, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(try_create(), -ENOTDIR);
	assert_int_equal(folder_try(), -ENOTDIR);
	unlink(folder);
}

static void test_leftover_is_reused(void **state)
{
	assert_int_equal(mkdir(folder, 0700), 0);
	folder_put("manifest.tmp", "", 0);
	folder_put("core.task.img", "half", 4);
	folder_put("pages-1.bin", "half", 4);
	assert_int_equal(folder_try(), -ENOENT);
	folder_sample();
	assert_int_equal(folder_try(), 0);
	folder_remove(folder);

	assert_int_equal(mkdir(folder, 0700), 0);
	folder_put("manifest.tmp", "", 0);
	folder_put("letter.txt", "dear", 4);
	assert_int_equal(try_create(), -ENOTEMPTY);
	assert_true(folder_has("letter.txt") && folder_has("manifest.tmp"));
}

static void test_odd_paths(void **state)
{
	char with_slash[80];
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	int here = open(".", O_RDONLY | O_DIRECTORY);

	snprintf(with_slash, sizeof(with_slash), "%s//", folder);
	assert_int_equal(image_create(with_slash, false, &img, &err), 0);
	image_close(img);
	assert_int_equal(access(folder, F_OK), -1);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(image_create(".", false, &img, &err), 0);
	image_close(img);
	assert_int_equal(fchdir(here), 0);
	close(here);
	assert_int_equal(image_create("", false, &img, NULL) < 0, 1);
	assert_int_equal(image_create("/", false, &img, NULL), -ENOTEMPTY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_round_trip, folder_clear),
		cmocka_unit_test_teardown(test_many_records, folder_clear),
		cmocka_unit_test_teardown(test_bulk_ways, folder_clear),
		cmocka_unit_test_teardown(test_unsealed_is_removed, folder_clear),
		cmocka_unit_test_teardown(test_folder_is_refused, folder_clear),
		cmocka_unit_test_teardown(test_leftover_is_reused, folder_clear),
		cmocka_unit_test_teardown(test_odd_paths, folder_clear),
	};

	return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
