/* SPDX-License-Identifier: Apache-2.0 */
/* What smaps says of mappings, line by line; and which records of an image are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/mman.h>
#include "core/memory/memory.h"
#include "core/memory/vmas.h"
#include "core/util/util.h"

#define DETAILS(flags) \
	"Size:                  4 kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n" \
	"Rss:                   0 kB\nLocked:                0 kB\nTHPeligible:           0\n" \
	"ProtectionKey:         0\nVmFlags: " flags "\n"

static const uint64_t shmem = 1; /* device 0:1 */

/* Parses and classifies one entry; its sort, or the error. */
static int one(const char *text, Crcore__Vma *rec, struct crcore_error *err)
{
	const char *at = text;
	struct vma_text v;

	crcore__vma__init(rec);
	assert_int_equal(vma_parse(&at, text + strlen(text), &v), 1);
	assert_ptr_equal(at, text + strlen(text));
	return vma_classify(&v, shmem, rec, err);
}

static void is(const char *text, int sort, Crcore__Backing backing, Crcore__Vma *rec)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	int r = one(text, rec, &err);

	if (r != sort)
		fail_msg("%d (%s %s), not %d: %s", r, err.object, err.message, sort, text);
	assert_int_equal(rec->backing, backing);
}

static void refused(const char *text, const char *why)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	Crcore__Vma rec;

	assert_int_equal(one(text, &rec, &err), -ENOTSUP);
	if (!strstr(err.message, why))
		fail_msg("refused with \"%s\", not \"%s\"", err.message, why);
	assert_non_null(strstr(err.object, "7f0000000000-7f0000001000"));
	assert_true(err.advice[0]);
}

#define AT "7f0000000000-7f0000001000 "

static void backings(void **state)
{
	Crcore__Vma v;

	(void)state;
	is(AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr mr mw me ac"), VMA_PLAIN, CRCORE__BACKING__ANON, &v);
	assert_int_equal(v.start, 0x7f0000000000);
	assert_int_equal(v.end, 0x7f0000001000);
	assert_int_equal(v.prot, PROT_READ | PROT_WRITE);
	assert_false(v.shared);
	is(AT "rw-p 00000000 00:00 0      [heap]\n" DETAILS("rd wr"), VMA_PLAIN, CRCORE__BACKING__ANON, &v);
	is(AT "rw-p 00000000 00:00 0      [stack]\n" DETAILS("rd wr gd"), VMA_PLAIN, CRCORE__BACKING__ANON, &v);
	assert_true(v.grows_down);
	is(AT "r-xp 00000000 00:00 0      [vdso]\n" DETAILS("rd ex de"), VMA_PLAIN, CRCORE__BACKING__VDSO, &v);
	is(AT "r--p 00000000 00:00 0      [vvar_vclock]\n" DETAILS("rd io pf de dd"), VMA_PLAIN, CRCORE__BACKING__VVAR, &v);
	is("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0      [vsyscall]\n" DETAILS("ex"),
	   VMA_PLAIN, CRCORE__BACKING__VSYSCALL, &v);
	is(AT "r-xp 00002000 08:01 77      /usr/bin/x\n" DETAILS("rd ex"), VMA_FILE, CRCORE__BACKING__FILE, &v);
	assert_int_equal(v.offset, 0x2000);
	is(AT "rw-s 00001000 00:01 77      /dev/zero (deleted)\n" DETAILS("rd wr sh"), VMA_PLAIN, CRCORE__BACKING__SEGMENT, &v);
	assert_true(v.shared);
	assert_int_equal(v.offset, 0x1000);
	is(AT "rw-p 00000000 00:05 5      /dev/zero\n" DETAILS("rd wr"), VMA_FILE, CRCORE__BACKING__FILE, &v);
	is(AT "rw-s 00000000 00:30 77      /dev/zero (deleted)\n" DETAILS("rd wr sh"), VMA_FILE, CRCORE__BACKING__FILE, &v);
	is(AT "rw-s 00000000 00:01 77      /SYSV00000000 (deleted)\n" DETAILS("rd wr sh"), VMA_FILE, CRCORE__BACKING__FILE, &v);
	is(AT "rw-s 00000000 00:01 77      /memfd:x (deleted)\n" DETAILS("rd wr sh"), VMA_FILE, CRCORE__BACKING__FILE, &v);
	is(AT "rw-s 00000000 00:0e 77      anon_inode:[perf_event]\n" DETAILS("rd wr sh"), VMA_FILE, CRCORE__BACKING__FILE, &v);
	is(AT "rw-s 00000000 00:06 9      /dev/mem\n" DETAILS("rd wr sh io pf"), VMA_FILE, CRCORE__BACKING__FILE, &v);
}

static void names_and_huge_pages(void **state)
{
	Crcore__Vma v;

	(void)state;
	is(AT "rw-p 00000000 00:00 0      [anon:a name: x]\n" DETAILS("rd wr"), VMA_PLAIN, CRCORE__BACKING__ANON, &v);
	assert_string_equal(v.name, "a name: x");
	free(v.name);
	is(AT "rw-s 00000000 00:01 7      [anon_shmem:mine]\n" DETAILS("rd wr sh"), VMA_PLAIN, CRCORE__BACKING__SEGMENT, &v);
	assert_string_equal(v.name, "mine");
	free(v.name);
	is("7f0000000000-7f0000200000 rw-p 00000000 00:0f 7      /anon_hugepage (deleted)\n"
	   "KernelPageSize:     2048 kB\nVmFlags: rd wr de ht\n", VMA_PLAIN, CRCORE__BACKING__HUGETLB, &v);
	assert_int_equal(v.huge_shift, 21);
	is("7f0000000000-7f0000200000 rw-s 00000000 00:0f 7      /anon_hugepage (deleted)\n"
	   "KernelPageSize:     2048 kB\nVmFlags: rd wr sh de ht\n", VMA_PLAIN, CRCORE__BACKING__SEGMENT, &v);
	assert_int_equal(v.huge_shift, 21);
}

static void flags(void **state)
{
	Crcore__Vma v;

	(void)state;
	is(AT "---p 00000000 00:00 0 \n" DETAILS("mr mw me lo lf nr sl dc dd hg mg rr"), VMA_PLAIN,
	   CRCORE__BACKING__ANON, &v);
	assert_true(v.locked && v.lock_onfault && v.noreserve && v.sealed);
	assert_int_equal(v.prot, 0);
	assert_true(v.advice == (1ull << MADV_DONTFORK | 1ull << MADV_DONTDUMP | 1ull << MADV_HUGEPAGE |
	                         1ull << MADV_MERGEABLE | 1ull << MADV_RANDOM));
	is(AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr nr wf dd dp"), VMA_PLAIN, CRCORE__BACKING__ANON, &v);
	assert_true(v.droppable && !v.advice);
}

static void refusals(void **state)
{
	(void)state;
	refused(AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr um"), "on demand");
	refused(AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr um"), "on demand");
	refused(AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr ss"), "shadow stack");
	refused(AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr io pf"), "device");
	refused(AT "rw-s 00000000 08:01 7      /x\n" DETAILS("rd wr sf"), "MAP_SYNC");
	refused(AT "rw-p 00000000 00:00 0      [uprobes]\n" DETAILS("rd wr"), "not known");
	refused(AT "rw-p 00000000 00:00 0 \nProtectionKey:         3\nVmFlags: rd\n", "protection key");
	refused(AT "rw-p 00000000 00:00 0 \n", "does not tell");
}

static void damaged_text(void **state)
{
	static const char *const bad[] = {
		"x", "7f00-\n", "7f10-7f00 rw-p 00000000 00:00 0 \n", AT "rw-p\n", AT "rw-p 0 00 0\n",
		AT "rw-p 00000000 00:00 0", AT "rw-p 00000000 00:00 0 \nVmFlags: rd",
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		char *copy = strdup(bad[i]); /* where a sanitizer sees its end */
		const char *at = copy;
		struct vma_text v;
		assert_int_equal(vma_parse(&at, copy + strlen(copy), &v), -EBADMSG);
		free(copy);
	}
}

static void many(void **state)
{
	static const char entry[] = AT "rw-p 00000000 00:00 0 \n" DETAILS("rd wr mr mw me ac");
	size_t n = 0, len = sizeof(entry) - 1;
	char *text = malloc(5000 * len);
	struct vma_text v;

	(void)state;
	for (unsigned i = 0; i < 5000; i++)
		memcpy(text + i * len, entry, len);
	const char *at = text;
	while (vma_parse(&at, text + 5000 * len, &v) == 1)
		n++;
	assert_int_equal(n, 5000);
	free(text);
}

/* ---- records ---------------------------------------------------------------------------- */

struct fixture {
	Crcore__Mm mm[2], *mms[2];
	Crcore__Vma vma[4], *vmas[4];
	Crcore__Run run[3], *runs[3], other, *others[1];
};

/* Anonymous, a private file, a shared segment, huge pages; the second has two pages of the first. */
static void good(struct fixture *f)
{
	for (unsigned i = 0; i < 4; i++) {
		crcore__vma__init(&f->vma[i]);
		f->vmas[i] = &f->vma[i];
		f->vma[i].start = 0x10000000 + i * 0x800000ull;
		f->vma[i].end = f->vma[i].start + 0x200000;
		f->vma[i].prot = PROT_READ;
		f->vma[i].backing = (Crcore__Backing[]){ CRCORE__BACKING__ANON, CRCORE__BACKING__FILE,
			CRCORE__BACKING__SEGMENT, CRCORE__BACKING__HUGETLB }[i];
		f->vma[i].object = i == 1 || i == 2;
	}
	f->vma[2].shared = true;
	f->vma[3].huge_shift = 21;
	for (unsigned i = 0; i < 3; i++) {
		crcore__run__init(&f->run[i]);
		f->runs[i] = &f->run[i];
		f->run[i].addr = 0x10000000 + (i == 2 ? 0x800000 : i * 0x4000);
		f->run[i].pages = 4;
		f->run[i].source = CRCORE__SOURCE__PAGES;
		f->run[i].offset = i * 0x4000;
	}
	crcore__run__init(&f->other);
	f->others[0] = &f->other;
	f->other.addr = 0x10000000;
	f->other.pages = 2;
	f->other.source = CRCORE__SOURCE__OTHER;
	f->other.offset = 0x10003000;
	f->other.mm = 1;
	for (unsigned i = 0; i < 2; i++) {
		crcore__mm__init(&f->mm[i]);
		f->mms[i] = &f->mm[i];
		f->mm[i].id = i + 1;
		f->mm[i].vmas = f->vmas;
		f->mm[i].n_vmas = 4;
		f->mm[i].runs = i ? f->others : f->runs;
		f->mm[i].n_runs = i ? 1 : 3;
	}
}

static int check(struct fixture *f, unsigned mm)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	uint64_t room = 100;
	int r = mm_validate(&f->mm[mm], f->mms, 2, 0xc000, &room, &err);

	assert_true(r == 0 || (r == -EBADMSG && err.object[0] && err.message[0] && err.advice[0]));
	return r;
}

#define BREAKS(mm, what) do { \
		struct fixture f; \
		good(&f); \
		assert_int_equal(check(&f, mm), 0); \
		what; \
		if (check(&f, mm) == 0) \
			fail_msg("accepted: %s", #what); \
	} while (0)

/* Many runs, each of which refers to many: it does not take as long as all of them together. */
static void bounded_time(void **state)
{
	enum { SMALL = 50000, LARGE = 200000 };
	const uint64_t base = 0x10000000, to = base + SMALL * PAGE;
	struct crcore_error err = CRCORE_ERROR_INIT;
	Crcore__Run *run = calloc(SMALL + LARGE, sizeof(*run)), **runs = calloc(SMALL + LARGE, sizeof(*runs));
	Crcore__Vma vma = CRCORE__VMA__INIT, *vmas[] = { &vma };
	Crcore__Mm mm[2] = { CRCORE__MM__INIT, CRCORE__MM__INIT }, *mms[] = { &mm[0], &mm[1] };
	uint64_t room = 1 << 20, start = now_ns();

	assert_true(run && runs);
	vma.start = base;
	vma.end = to + LARGE * (uint64_t)SMALL * PAGE;
	vma.prot = PROT_READ;
	vma.backing = CRCORE__BACKING__ANON;
	for (unsigned i = 0; i < SMALL + LARGE; i++) {
		runs[i] = &run[i];
		crcore__run__init(&run[i]);
		run[i].source = i < SMALL ? CRCORE__SOURCE__PAGES : CRCORE__SOURCE__OTHER;
		run[i].addr = i < SMALL ? base + i * PAGE : to + (i - SMALL) * (uint64_t)SMALL * PAGE;
		run[i].pages = i < SMALL ? 1 : SMALL;
		run[i].offset = i < SMALL ? (SMALL - 1 - i) * PAGE : base;
		run[i].mm = i < SMALL ? 0 : 1;
	}
	for (unsigned i = 0; i < 2; i++) {
		mm[i].id = i + 1;
		mm[i].vmas = vmas;
		mm[i].n_vmas = 1;
	}
	mm[0].runs = runs;
	mm[0].n_runs = SMALL;
	mm[1].runs = runs + SMALL;
	mm[1].n_runs = LARGE;
	assert_int_equal(mm_validate(&mm[0], mms, 0, SMALL * PAGE, &room, &err), 0);
	assert_int_equal(mm_validate(&mm[1], mms, 1, SMALL * PAGE, &room, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "so often"));
	assert_true(now_ns() - start < 2000000000u);
	free(run);
	free(runs);
}

static void bad_mappings(void **state)
{
	char *longer = strndup("nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", 84);

	(void)state;
	BREAKS(0, f.vma[0].start++);
	BREAKS(0, f.vma[0].end = f.vma[0].start);
	BREAKS(0, f.vma[0].end = f.vma[1].end);
	BREAKS(0, f.vma[3].end = 1ull << 62);
	BREAKS(0, f.vma[0].prot = 8);
	BREAKS(0, f.vma[0].shared = true);
	BREAKS(0, f.vma[0].backing = 99);
	BREAKS(0, f.vma[0].backing = CRCORE__BACKING__BACKING_NONE);
	BREAKS(0, f.vma[0].backing = CRCORE__BACKING__VSYSCALL);
	BREAKS(0, f.vma[0].advice = 1ull << MADV_DONTNEED);
	BREAKS(0, f.vma[1].advice = 1ull << 63);
	BREAKS(0, f.vma[1].object = 0);
	BREAKS(0, f.vma[1].offset = 5);
	BREAKS(0, f.vma[1].offset = UINT64_MAX - 0xfff);
	BREAKS(0, f.vma[1].grows_down = true);
	BREAKS(0, f.vma[1].name = longer);
	BREAKS(0, f.vma[0].name = longer);
	BREAKS(0, (longer[2] = '\n', longer[5] = 0, f.vma[0].name = longer));
	BREAKS(0, f.vma[2].shared = false);
	BREAKS(0, f.vma[3].huge_shift = 64);
	BREAKS(0, f.vma[3].huge_shift = 30);
	BREAKS(0, f.vma[3].huge_shift = 0);
	free(longer);
}

static void bad_runs(void **state)
{
	(void)state;
	BREAKS(0, f.run[0].addr++);
	BREAKS(0, f.run[0].pages = 0);
	BREAKS(0, f.run[0].pages = UINT64_MAX);
	BREAKS(0, f.run[0].pages = 5);
	BREAKS(0, f.run[0].addr = 0x5000);
	BREAKS(0, f.run[2].addr = 0x11000000);
	BREAKS(0, f.run[2].pages = 0x201);
	BREAKS(0, f.run[2].offset = 0xc000);
	BREAKS(0, f.run[2].offset = UINT64_MAX - 0xfff);
	BREAKS(0, f.run[0].offset = 1);
	BREAKS(0, f.run[2].source = CRCORE__SOURCE__ZERO);
	BREAKS(0, f.run[0].source = 77);
	BREAKS(1, f.other.mm = 2);
	BREAKS(1, f.other.mm = 3);
	BREAKS(1, f.other.offset = 0x10007000);
	BREAKS(1, f.other.offset = 0x10003001);
	BREAKS(1, f.other.offset = UINT64_MAX - 0xfff);
	BREAKS(1, f.run[1].source = CRCORE__SOURCE__ZERO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backings), cmocka_unit_test(names_and_huge_pages),
		cmocka_unit_test(flags), cmocka_unit_test(refusals), cmocka_unit_test(damaged_text),
		cmocka_unit_test(many), cmocka_unit_test(bad_mappings), cmocka_unit_test(bounded_time), cmocka_unit_test(bad_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
