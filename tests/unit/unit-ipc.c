/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin ipc, with a host of the test: records that make no sense, and how a task attaches
 * segments: whole, in parts, several times. Nothing of the kernel's IPC is touched. */
#include "fake-host.h"

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

enum { PAGE = 4096, ID = 1999999999 };
#define SCRATCH 0x40000000000ULL
#define BASE 0x7f0000000000ULL

static const char *so;

/* ---- records by hand ---- */

struct bytes { unsigned char v[512]; size_t n; };

static void varint(struct bytes *b, uint64_t v)
{
	for (; v > 127; v >>= 7)
		b->v[b->n++] = (unsigned char)(v | 128);
	b->v[b->n++] = (unsigned char)v;
}

static void number(struct bytes *b, unsigned field, uint64_t v)
{
	varint(b, field << 3);
	varint(b, v);
}

static void text(struct bytes *b, unsigned field, const void *v, size_t len)
{
	varint(b, field << 3 | 2);
	varint(b, len);
	memcpy(b->v + b->n, v, len);
	b->n += len;
}

static void string(struct bytes *b, unsigned field, const char *s) { text(b, field, s, strlen(s)); }

static struct bytes with_perm(uint64_t id, uint64_t mode)
{
	struct bytes perm = { .n = 0 }, b = { .n = 0 };

	number(&perm, 1, id);
	number(&perm, 7, mode);
	text(&b, 1, perm.v, perm.n);
	return b;
}

static struct bytes shm(uint64_t size)
{
	struct bytes b = with_perm(ID, 0600);

	number(&b, 2, size);
	return b;
}

static struct bytes attach(uint32_t object, uint64_t id, bool read_only)
{
	struct bytes b = { .n = 0 };

	number(&b, 1, object);
	number(&b, 2, id);
	number(&b, 3, read_only);
	return b;
}

static struct bytes memory(const char *path, uint64_t mode)
{
	struct bytes b = { .n = 0 };

	number(&b, 1, 1);
	string(&b, 2, path);
	number(&b, 5, mode);
	return b;
}

static struct bytes queue(const char *name, uint64_t max, uint64_t size)
{
	struct bytes b = { .n = 0 };

	number(&b, 1, 1);
	string(&b, 2, name);
	number(&b, 4, max);
	number(&b, 5, size);
	return b;
}

static int load(struct fake *f, const char *section, struct bytes b)
{
	f->err = (struct crcore_error)CRCORE_ERROR_INIT;
	return f->plugin->load_record(f->state, section, 1, b.v, b.n, &f->err);
}

static struct fake *begin(void)
{
	struct fake *f = fake_new(so);

	fake_open(f);
	return f;
}

/* ---- what makes no sense ---- */

static void refused(const char *section, struct bytes b)
{
	struct fake *f = begin();
	int r = load(f, section, b);

	if (r == 0)
		r = f->plugin->check(f->state, &f->err);
	assert_int_equal(r, -EBADMSG);
	assert_true(f->err.message[0]);
	fake_free(f);
}

static void test_damaged(void **state)
{
	static const char *const sections[] = { "shm", "attach", "sem", "undo", "msg", "message", "queue",
		"open", "queue-message", "memory", "memory-use" };
	struct bytes b = { .n = 0 }, values;

	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		refused(sections[i], (struct bytes){ .n = 0 });
		refused(sections[i], (struct bytes){ { 0x0a, 0x7f, 1 }, 3 });
	}
	refused("shm", shm(0));
	refused("shm", shm(UINT64_MAX));
	b = with_perm(1ULL << 31, 0600);
	number(&b, 2, PAGE);
	refused("shm", b);
	b = with_perm(1, 01600);
	number(&b, 2, PAGE);
	refused("shm", b);
	refused("attach", attach(1, ID, false)); /* no such segment */
	for (unsigned value = 5; value < 100000; value *= 100) {
		b = with_perm(ID, 0600);
		values = (struct bytes){ .n = 0 };
		varint(&values, value == 5 ? 1 : value);
		text(&b, 2, values.v, values.n);
		if (value != 5) /* as many pids as values */
			text(&b, 3, "\1", 1);
		if (value != 500)
			refused("sem", b);
	}
}

static void test_damaged_names(void **state)
{
	struct bytes b;

	refused("memory", memory("/etc/passwd", 0600));
	refused("memory", memory("/dev/shm/", 0600));
	refused("memory", memory("/dev/shm/..", 0600));
	refused("memory", memory("/dev/shm/a/b", 0600));
	refused("memory", memory("/dev/shmx", 0600));
	refused("memory", memory("/dev/shm/a", 010000));
	refused("queue", queue("a/b", 10, 10));
	refused("queue", queue("", 10, 10));
	refused("queue", queue("a", 0, 10));
	refused("queue", queue("a", 1 << 20, 10));
	refused("queue", queue("a", 10, 1 << 30));
	b = (struct bytes){ .n = 0 };
	number(&b, 1, 3);
	number(&b, 2, 1);
	number(&b, 3, O_CREAT | O_RDWR);
	refused("open", b);
	b = (struct bytes){ .n = 0 };
	string(&b, 1, "kernel/core_pattern");
	string(&b, 2, "|/bin/sh");
	refused("limit", b);
}

/* ---- attaching ---- */

static struct fake *attached(uint64_t size, bool read_only)
{
	struct fake *f = begin();

	assert_int_equal(load(f, "shm", shm(size)), 0);
	assert_int_equal(load(f, "attach", attach(7, ID, read_only)), 0);
	assert_int_equal(f->plugin->check(f->state, &f->err), 0);
	return f;
}

static int map(struct fake *f, const struct crcore_mapping *v, uint32_t n)
{
	const struct crcore_mapping *p[8];

	for (uint32_t i = 0; i < n; i++)
		p[i] = &v[i];
	f->err = (struct crcore_error)CRCORE_ERROR_INIT;
	return f->plugin->map(f->state, 7, p, n, SCRATCH, 1ULL << 40, (void *)f, &f->err);
}

static struct crcore_mapping mapping(uint64_t start, uint64_t pages, uint64_t offset, uint32_t prot)
{
	return (struct crcore_mapping){ sizeof(struct crcore_mapping), prot, start, start + pages * PAGE,
		                        offset * PAGE };
}

static void is(const struct fake *f, unsigned i, uint32_t nr, uint64_t a, uint64_t b, uint64_t c)
{
	assert_in_range(i, 0, f->nops - 1);
	assert_int_equal(f->ops[i].nr, nr);
	assert_int_equal(f->ops[i].args[0].value, a);
	assert_int_equal(f->ops[i].args[1].value, b);
	assert_int_equal(f->ops[i].args[2].value, c);
	assert_int_not_equal(f->ops[i].expect, CRCORE_ANY);
}

static void test_whole(void **state)
{
	struct crcore_mapping v = mapping(BASE, 4, 0, PROT_READ | PROT_WRITE);
	struct fake *f = attached(4 * PAGE - 1, false);

	assert_int_equal(map(f, &v, 1), 1);
	is(f, 0, SYS_shmat, ID, BASE, SHM_REMAP);
	assert_int_equal(f->nops, 1);
	fake_free(f);
	v.prot = PROT_READ;
	f = attached(4 * PAGE, true);
	assert_int_equal(map(f, &v, 1), 1);
	is(f, 0, SYS_shmat, ID, BASE, SHM_REMAP | SHM_RDONLY);
	assert_int_equal(f->nops, 1);
	fake_free(f);
}

/* One attachment, of which a part is protected otherwise: still one call. */
static void test_protected(void **state)
{
	const struct crcore_mapping v[3] = { mapping(BASE, 1, 0, PROT_READ | PROT_WRITE),
		mapping(BASE + PAGE, 1, 1, PROT_READ),
		mapping(BASE + 2 * PAGE, 2, 2, PROT_READ | PROT_WRITE | PROT_EXEC) };
	struct fake *f = attached(4 * PAGE, false);

	assert_int_equal(map(f, v, 3), 1);
	is(f, 0, SYS_shmat, ID, BASE, SHM_REMAP | SHM_EXEC);
	is(f, 1, SYS_mprotect, BASE, PAGE, PROT_READ | PROT_WRITE);
	is(f, 2, SYS_mprotect, BASE + PAGE, PAGE, PROT_READ);
	assert_int_equal(f->nops, 3);
	fake_free(f);
}

/* Two of it, one with a hole: that one is put together elsewhere. */
static void test_parts(void **state)
{
	const struct crcore_mapping v[3] = { mapping(BASE, 4, 0, PROT_READ | PROT_WRITE),
		mapping(BASE + 8 * PAGE, 1, 0, PROT_READ | PROT_WRITE),
		mapping(BASE + 11 * PAGE, 1, 3, PROT_READ | PROT_WRITE) };
	struct fake *f = attached(4 * PAGE, false);

	assert_int_equal(map(f, v, 3), 1);
	is(f, 0, SYS_shmat, ID, BASE, SHM_REMAP);
	is(f, 1, SYS_shmat, ID, SCRATCH, 0);
	is(f, 2, SYS_mremap, SCRATCH, PAGE, PAGE);
	assert_int_equal(f->ops[2].args[4].value, BASE + 8 * PAGE);
	is(f, 3, SYS_mremap, SCRATCH + 3 * PAGE, PAGE, PAGE);
	assert_int_equal(f->ops[3].args[4].value, BASE + 11 * PAGE);
	is(f, 4, SYS_munmap, SCRATCH, 4 * PAGE, 0);
	assert_int_equal(f->nops, 5);
	fake_free(f);
}

static void test_too_long(void **state)
{
	const struct crcore_mapping v[2] = { mapping(BASE, 5, 0, PROT_READ), mapping(BASE, 1, 4, PROT_READ) };
	struct fake *f = attached(4 * PAGE, false);

	assert_int_equal(map(f, &v[0], 1), -EBADMSG);
	assert_int_equal(map(f, &v[1], 1), -EBADMSG);
	assert_int_equal(f->plugin->map(f->state, 8, NULL, 0, 0, 0, (void *)f, &f->err), -EBADMSG);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damaged), cmocka_unit_test(test_damaged_names),
		cmocka_unit_test(test_whole), cmocka_unit_test(test_protected), cmocka_unit_test(test_parts),
		cmocka_unit_test(test_too_long),
	};

	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
