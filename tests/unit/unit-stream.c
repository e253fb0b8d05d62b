/* SPDX-License-Identifier: Apache-2.0 */
/* An image as a stream: the archive's headers, and what is sent is what is received. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "core/image/pages.h"
#include "core/image/tar.h"
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

#define BLOCKS 37 /* more than two files of pages */
#define LEN ((BLOCKS - 1) * (size_t)IMAGE_BLOCK + 5 * PAGE)

/* ---- headers ---- */

static void test_headers(void **state)
{
	static const struct { const char *name; uint64_t size; } good[] = {
		{ "manifest", 0 }, { "pages-1.bin", 1 }, { "a", 077777777777 }, { "b", 0100000000000 },
		{ "c", INT64_MAX },
		{ "a-name-of-a-hundred-characters-which-is-what-fits-into-the-header-of-an-old-archive-"
		  "of-tape-fi.bin", 5 },
	};
	unsigned char block[TAR_BLOCK], zeroes[TAR_BLOCK] = { 0 };
	struct tar_entry e;
	char longer[102];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(tar_put(block, good[i].name, good[i].size, 1700000000));
		assert_int_equal(tar_get(block, &e), 1);
		assert_string_equal(e.name, good[i].name);
		assert_int_equal(e.size, good[i].size);
		assert_false(e.folder);
		for (unsigned k = 0; k < TAR_BLOCK; k++) {
			block[k] ^= 1;
			if (k != 155) /* a space behind the sum */
				assert_int_equal(tar_get(block, &e), -1);
			block[k] ^= 1;
		}
	}
	memset(longer, 'a', 101);
	longer[101] = 0;
	assert_false(tar_put(block, longer, 1, 0));
	assert_int_equal(tar_get(zeroes, &e), 0);
}

/* ---- there and back ---- */

static unsigned char *make_bytes(void)
{
	unsigned char *p = malloc(LEN);

	for (size_t i = 0; i < LEN; i++)
		p[i] = (unsigned char)(i / IMAGE_BLOCK + i % 251 * (i / PAGE % 3));
	return p;
}

/* Files of all other sorts. */
static void put_others(struct image *img)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char record[1000];
	int blob = image_bulk(img, "sample.blob.bin", &err);

	memset(record, 'r', sizeof(record));
	assert_int_equal(write(blob, "blob", 4), 4);
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(image_put(img, "sample", "long", record, sizeof(record), &err), 0);
	assert_int_equal(image_put(img, "sample", "short", "hi", 2, &err), 0);
}

/* Sends an image of all sorts of files to fd. */
static void send_image(int fd, enum pack_codec codec, const unsigned char *bytes)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	Crcore__Manifest m;

	assert_int_equal(image_create_stream(fd, NULL, &img, &err), 0);
	assert_int_equal(image_set_packing(img, codec, 0, &err), 0);
	assert_int_equal(image_pages_begin(img, 1, &err), 0);
	for (uint64_t i = 0; i < BLOCKS; i++) { /* neighbours in turn */
		uint64_t n = i + 1 < BLOCKS ? i ^ 1 : i;
		assert_int_equal(image_pages_block(img, 0, n, bytes + n * IMAGE_BLOCK, n + 1 < BLOCKS ?
		                                   IMAGE_BLOCK : LEN % IMAGE_BLOCK, &err), 0);
	}
	put_others(img);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	image_close(img);
}

static int count(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	*(size_t *)arg += len;
	return 0;
}

static void check_image(const unsigned char *bytes)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *got = malloc(LEN);
	struct image *img;
	struct pages *p;
	size_t records = 0;
	uint64_t len;
	char blob[4];

	if (image_open(folder, true, &img, &err))
		fail_msg("%s: %s", err.object, err.message);
	assert_int_equal(pages_open(img, &p, &err), 0);
	assert_int_equal(pages_length(p), LEN);
	assert_int_equal(pages_read(p, 0, got, LEN, &err), 0);
	assert_memory_equal(got, bytes, LEN);
	assert_int_equal(pages_read(p, 16 * IMAGE_BLOCK - 10, got, 20, &err), 0);
	assert_memory_equal(got, bytes + 16 * IMAGE_BLOCK - 10, 20);
	assert_int_equal(image_each(img, "sample", "long", count, &records, &err), 0);
	assert_int_equal(records, 400000);
	assert_int_equal(image_each(img, "sample", "short", count, &records, &err), 0);
	assert_int_equal(records, 400002);
	assert_int_equal(pread(image_bulk_read(img, "sample.blob.bin", &len, &err), blob, 4, 0), 4);
	assert_memory_equal(blob, "blob", 4);
	pages_close(p);
	image_close(img);
	free(got);
}

static void test_there_and_back(void **state)
{
	unsigned char *bytes = make_bytes();

	for (enum pack_codec c = PACK_PLAIN; c < PACK_CODECS; c++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct image_place *place;
		bool made = false;
		int fd = memfd_create("stream", MFD_CLOEXEC);
		send_image(fd, c, bytes);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(image_receive(fd, folder, NULL, &made, &err), 0);
		assert_true(made);
		check_image(bytes);
		assert_int_equal(image_place_open(folder, made, &place, &err), 0);
		image_place_remove(place);
		image_place_remove(place);
		image_place_close(place);
		assert_int_equal(access(folder, F_OK), -1);
		close(fd);
	}
	free(bytes);
}

/* Many at once, into a channel that is slow: all comes through, whoever waits for whom. */
struct writers { struct image *img; const unsigned char *bytes; atomic_uint next; };

static void *write_blocks(void *arg)
{
	struct writers *w = arg;
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned n;

	while ((n = atomic_fetch_add(&w->next, 1)) < BLOCKS) {
		size_t len = n + 1 < BLOCKS ? IMAGE_BLOCK : LEN % IMAGE_BLOCK;
		if (n % 5 == 0)
			usleep(1000);
		if (image_pages_block(w->img, 0, n, w->bytes + n * (size_t)IMAGE_BLOCK, len, &err))
			return w;
	}
	return NULL;
}

struct reader { int from, to; };

static void *read_slowly(void *arg)
{
	const struct reader *r = arg;
	static char buf[300000];
	ssize_t n;

	while ((n = read(r->from, buf, sizeof(buf))) > 0 && write(r->to, buf, (size_t)n) == n)
		usleep(500);
	return NULL;
}

static void test_threads(void **state)
{
	enum { WRITERS = 12 };
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *bytes = make_bytes();
	struct writers w = { .bytes = bytes };
	struct reader reader;
	struct image_place *place;
	pthread_t v[WRITERS], slow;
	Crcore__Manifest m;
	bool made;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	reader = (struct reader){ fds[0], memfd_create("stream", MFD_CLOEXEC) };
	assert_int_equal(pthread_create(&slow, NULL, read_slowly, &reader), 0);
	assert_int_equal(image_create_stream(fds[1], NULL, &w.img, &err), 0);
	assert_int_equal(image_pages_begin(w.img, 1, &err), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&v[i], NULL, write_blocks, &w), 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		void *failed;
		pthread_join(v[i], &failed);
		assert_null(failed);
	}
	put_others(w.img);
	sample_manifest(&m);
	assert_int_equal(image_seal(w.img, &m, &err), 0);
	image_close(w.img);
	close(fds[1]);
	pthread_join(slow, NULL);
	lseek(reader.to, 0, SEEK_SET);
	assert_int_equal(image_receive(reader.to, folder, NULL, &made, &err), 0);
	check_image(bytes);
	assert_int_equal(image_place_open(folder, made, &place, &err), 0);
	image_place_remove(place);
	image_place_close(place);
	close(fds[0]);
	close(reader.to);
	free(bytes);
}

/* A folder that was there stays; one that is not empty is not touched. */
static void test_folders(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *bytes = make_bytes();
	struct image_place *place;
	char file[80];
	bool made = true;
	int fd = memfd_create("stream", MFD_CLOEXEC);

	send_image(fd, PACK_LZ4, bytes);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(file, sizeof(file), "%s/mine", folder);
	close(open(file, O_WRONLY | O_CREAT, 0600));
	assert_int_equal(image_receive(fd, folder, NULL, &made, &err), -ENOTEMPTY);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(image_receive(fd, folder, NULL, &made, &err), 0);
	assert_false(made);
	assert_int_equal(image_place_open(folder, made, &place, &err), 0);
	image_place_remove(place);
	image_place_close(place);
	assert_int_equal(rmdir(folder), 0); /* it is empty */
	close(fd);
	free(bytes);
}

static int stop(struct crcore_error *err)
{
	return crcore_fail(err, -ECANCELED, "stopped");
}

static void test_stop(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	Crcore__Manifest m;
	bool made;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(image_receive(fds[0], folder, stop, &made, &err), -ECANCELED);
	assert_int_equal(access(folder, F_OK), -1);
	assert_int_equal(image_create_stream(fds[1], stop, &img, &err), 0);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), -ECANCELED);
	image_close(img);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers), cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_folders), cmocka_unit_test(test_threads), cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
