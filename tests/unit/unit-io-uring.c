/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin io-uring, with a host of the test: counters and contents of a ring, what is
 * refused, records that are damaged. */
#include "fake-host.h"

#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static const char *so;

static struct fake *begin(long long limit)
{
	struct fake *f = fake_new(so);

	fake_option(f, "wait", (struct crcore_value){ .i = 1000000000 });
	fake_option(f, "count-limit", (struct crcore_value){ .i = limit });
	fake_open(f);
	return f;
}

struct ring {
	int fd;
	struct io_uring_params p;
	char *rings, *sqes;
	size_t len;
};

static uint32_t *word(const struct ring *r, uint32_t offset)
{
	return (uint32_t *)(void *)(r->rings + offset);
}

/* A ring that has taken n requests, of which two completions were not taken, and that has
 * one that was not submitted. */
static void ring_make(struct ring *r, unsigned n)
{
	*r = (struct ring){ .p.flags = 0 };
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		skip();
	r->len = r->p.sq_off.array + r->p.sq_entries * 4;
	r->rings = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	assert_true(r->rings != MAP_FAILED && r->sqes != MAP_FAILED);
	for (; n; n--) {
		++*word(r, r->p.sq_off.tail);
		assert_int_equal(syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0), 1);
		if (n > 2)
			++*word(r, r->p.cq_off.head);
	}
	++*word(r, r->p.sq_off.tail);
	strcpy(r->sqes + 128, "not submitted");
}

static void ring_free(struct ring *r)
{
	munmap(r->rings, r->len);
	munmap(r->sqes, 4096);
	close(r->fd);
}

/* What /proc tells of the counters. */
static void told(int fd, char ret[256])
{
	char path[64], text[2048] = "";

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	fd = open(path, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	assert_non_null(strstr(text, "SqMask"));
	snprintf(ret, 256, "%s", strstr(text, "SqMask"));
}

/* Claims need to read memory of the kernel. */
static struct crcore_object *add(struct fake *f, const struct ring *r)
{
	struct crcore_object *o = fake_object(f, r->fd);

	if (fake_claim(f, o) < 0 && (f->err.code == -EPERM || f->err.code == -ENOENT)) {
		print_message("%s\n", f->err.message);
		skip();
	}
	return o;
}

static struct crcore_object *add_memory(struct fake *f, const struct ring *r)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)r->sqes,
	         (unsigned long)r->sqes + 4096);
	return fake_file(f, path, CRCORE_USE_MAPPING, O_RDWR);
}

static void test_counters(void **state)
{
	struct fake *f = begin(1000);
	char before[256], after[256], *memory;
	struct ring r;
	int fd;

	ring_make(&r, 13);
	told(r.fd, before);
	add(f, &r);
	add_memory(f, &r);
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_true((fd = fake_create(f, 1)) >= 0);
	told(fd, after);
	assert_string_equal(before, after);
	assert_true((fd = fake_create(f, 2)) >= 0);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, IORING_OFF_SQES);
	assert_true(memory != MAP_FAILED);
	assert_string_equal(memory + 128, "not submitted");
	munmap(memory, 4096);
	ring_free(&r);
	fake_free(f);
}

static void test_refused(void **state)
{
	struct fake *f = begin(12);
	struct crcore_object *o;
	struct ring r;

	ring_make(&r, 13);
	o = add(f, &r);
	assert_int_equal(fake_claim(f, o), -E2BIG);
	assert_non_null(strstr(f->err.advice, "count-limit"));
	ring_free(&r);
	fake_free(f);
}

static void test_damaged(void **state)
{
	struct fake *f = begin(1000);
	struct ring r;

	ring_make(&r, 13);
	add(f, &r);
	add_memory(f, &r);
	assert_int_equal(fake_save(f), 0);
	assert_true(fake_damage(f, 500) > 0);
	free(f->records[0].msg);
	f->records[0] = f->records[1]; /* the mapping of a ring that is not there */
	f->nrecords = 1;
	fake_reopen(f);
	assert_int_equal(fake_load(f), -EBADMSG);
	ring_free(&r);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_damaged),
	};

	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
