/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of mappings that were looked at a moment ago (core/memory/known.c). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "core/memory/known.h"

static struct vma_text entry(uint64_t start, uint64_t end, uint32_t flags, const char *path)
{
	struct vma_text v = { .start = start, .end = end, .prot = PROT_READ | PROT_WRITE,
		              .path = path, .path_len = strlen(path), .flags = flags, .page_kb = 4,
		              .has_flags = true };
	return v;
}

static struct vma_text asked(uint64_t start, uint64_t end, const char *path)
{
	struct vma_text v = entry(start, end, 0, path);

	v.has_flags = false;
	return v;
}

static void test_known(void **state)
{
	struct vma_text v[] = {
		entry(0x10000, 0x20000, VMF_LOCKED, ""), entry(0x20000, 0x30000, VMF_DONTFORK, "[heap]"),
		entry(0x50000, 0x90000, VMF_HUGEPAGE, ""), entry(0xa0000, 0xb0000, 0, "/lib/a"),
	};
	const struct known k = { .list = { .v = v, .n = 4 } };
	struct vma_text q;

	v[3].dev = 1;
	v[3].ino = 7;
	q = asked(0x10000, 0x20000, "");
	assert_true(known_complete(&k, &q));
	assert_true(q.has_flags);
	assert_int_equal(q.flags, VMF_LOCKED);
	q = asked(0x20000, 0x48000, "[heap]"); /* grown */
	assert_true(known_complete(&k, &q));
	assert_int_equal(q.flags, VMF_DONTFORK);
	q = asked(0x60000, 0x90000, ""); /* its beginning is gone */
	assert_true(known_complete(&k, &q));
	assert_int_equal(q.flags, VMF_HUGEPAGE);
	q = asked(0x60000, 0x70000, ""); /* a piece from the middle, or something new */
	assert_false(known_complete(&k, &q));
	q = asked(0x30000, 0x40000, "");
	assert_false(known_complete(&k, &q));
	q = asked(0x10000, 0x20000, "");
	q.prot = PROT_READ;
	assert_false(known_complete(&k, &q));
	q = asked(0xa0000, 0xb0000, "/lib/a");
	assert_false(known_complete(&k, &q)); /* another file of that name */
	q.dev = 1;
	q.ino = 7;
	assert_true(known_complete(&k, &q));
	q.offset = 0x1000;
	assert_false(known_complete(&k, &q));
	q = asked(0xb0000, 0xc0000, "");
	assert_false(known_complete(&k, &q));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_known) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
