/* SPDX-License-Identifier: Apache-2.0 */
/* core/util/parallel.h: every one of many things is seen to once, whoever does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "core/util/parallel.h"

enum { MAX = 20000 };

static unsigned char seen[MAX];
static size_t longest;

static void see(void *arg, size_t from, size_t to)
{
	assert_ptr_equal(arg, seen);
	for (size_t i = from; i < to; i++)
		__atomic_add_fetch(&seen[i], 1, __ATOMIC_RELAXED);
	if (to - from > longest)
		longest = to - from;
}

static void check_seen(size_t n)
{
	for (size_t i = 0; i < MAX; i++) {
		assert_int_equal(seen[i], i < n);
		seen[i] = 0;
	}
}

static void test_each_once(void **state)
{
	static const size_t n[] = { 0, 1, 7, 8, 9, 199, 200, MAX }, chunk[] = { 1, 8, 64, MAX };

	for (size_t i = 0; i < sizeof(n) / sizeof(*n); i++)
		for (size_t k = 0; k < sizeof(chunk) / sizeof(*chunk); k++) {
			longest = 0;
			parallel(n[i], chunk[k], see, seen);
			check_seen(n[i]);
			assert_true(longest <= chunk[k]);
		}
}

static void test_few(void **state)
{
	for (size_t n = 0; n < 40; n++) {
		longest = 0;
		parallel_few(n, see, seen);
		check_seen(n);
		assert_int_equal(longest, n > 0);
	}
}

static unsigned count_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 2000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Nothing is left open. */
static void test_room(void **state)
{
	unsigned before = count_open();

	parallel_room(0, 300);
	parallel_room(-1, 300);
	parallel_room(0, 0x7fffff00); /* more than anybody may have */
	assert_int_equal(count_open(), before);
}

static long table_size(void)
{
	char text[4096], *line;
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	line = strstr(text, "FDSize:");
	return line ? strtol(line + 7, NULL, 10) : -1;
}

/* The table grows neither for those that stay nor for those that are open for a moment. */
static void test_room_for_more(void **state)
{
	const int first = dup(0), n = 500 - first, moment = 32;
	int fds[512 + 32];
	long size;

	close(first);
	parallel_room(0, (unsigned)n);
	size = table_size();
	for (int i = 0; i < n + moment; i++)
		assert_true((fds[i] = dup(0)) >= 0);
	assert_int_equal(table_size(), size);
	for (int i = 0; i < n + moment; i++)
		close(fds[i]);
}

struct crowd { pthread_t ours; int others, processors; };

static void note_processors(void *arg, size_t from, size_t to)
{
	const struct timespec moment = { 0, 1000000 };
	struct crowd *c = arg;
	cpu_set_t set;

	nanosleep(&moment, NULL);
	if (pthread_equal(c->ours, pthread_self()))
		return;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	__atomic_store_n(&c->processors, CPU_COUNT(&set), __ATOMIC_RELAXED);
	__atomic_add_fetch(&c->others, 1, __ATOMIC_RELAXED);
}

/* Of a short job the other threads are kept off the processor of the first. */
static void test_side_by_side(void **state)
{
	struct crowd c = { .ours = pthread_self() };
	cpu_set_t set, after;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int i = 0; i < 100 && !c.others; i++) /* on a busy machine it is done by one */
		parallel(12, 1, note_processors, &c);
	if (!c.others)
		skip();
	assert_int_equal(c.processors, CPU_COUNT(&set) - 1);
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&set, &after));
}

static int fail_behind(void *arg, size_t from, size_t to, struct crcore_error *err)
{
	const size_t *limit = arg;

	see(seen, from, to);
	return to > *limit ? crcore_fail(err, -ERANGE, "%zu is too much", to) : 0;
}

/* One failure of all is the whole's, and ends it. */
static void test_try(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	size_t limit = MAX, n = 0;

	assert_int_equal(parallel_try(MAX, 8, fail_behind, &limit, &err), 0);
	assert_int_equal(err.code, 0);
	check_seen(MAX);
	limit = 16;
	assert_int_equal(parallel_try(MAX, 8, fail_behind, &limit, &err), -ERANGE);
	assert_int_equal(err.code, -ERANGE);
	assert_non_null(strstr(err.message, "is too much"));
	for (size_t i = 0; i < MAX; i++)
		n += seen[i];
	assert_in_range(n, 17, MAX - 1);
	assert_int_equal(parallel_try(MAX, 8, fail_behind, &limit, NULL), -ERANGE);
	memset(seen, 0, sizeof(seen));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_once),
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_room_for_more),
		cmocka_unit_test(test_side_by_side),
		cmocka_unit_test(test_try),
	};

	if (fcntl(0, F_GETFD) < 0)
		open("/dev/null", O_RDONLY);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
