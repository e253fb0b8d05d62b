/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image has of its ancestors: chains of random images against a plain array with one
 * element a page, and what is refused of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/image/core_records.h"
#include "core/image/pages.h"
#include "core/memory/older.h"
#include "core/memory/save_priv.h"
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

enum { MMS = 3, PAGES = 40, IMAGES = 5, ROUNDS = 60 };
#define BASE 0x10000000ull
#define NONE UINT64_MAX

static uint64_t dice_state = 1;

static unsigned dice(unsigned below)
{
	dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(dice_state >> 33) % below;
}

/* ---- one image ---- */

struct made {
	char dir[64];
	Crcore__Mm *mms[MMS];
	uint64_t where[MMS][PAGES];  /* of each page that has bytes; else NONE */
	bool other[MMS][PAGES];      /* it is another's, so none can refer to it */
	uint64_t before, pages;      /* bytes of ancestors; with its own */
	uint64_t checksum;
};

static Crcore__Vma *new_vma(void)
{
	Crcore__Vma *v = malloc(sizeof(*v));

	crcore__vma__init(v);
	v->start = BASE;
	v->end = BASE + PAGES * PAGE;
	v->prot = 3;
	v->backing = CRCORE__BACKING__ANON;
	return v;
}

static Crcore__Mm *new_mm(uint32_t id)
{
	Crcore__Mm *m = malloc(sizeof(*m));

	crcore__mm__init(m);
	m->id = id;
	m->vmas = malloc(sizeof(*m->vmas));
	m->vmas[0] = new_vma();
	m->n_vmas = 1;
	return m;
}

static void put(struct runs *l, unsigned page, Crcore__Source source, uint64_t offset, uint32_t mm)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	assert_int_equal(runs_add(l, BASE + page * PAGE, 1, source, offset, mm, &err), 0);
}

/* A page of its own, another's, or one without bytes. */
static void put_own(struct made *m, unsigned i, unsigned page, struct runs *runs)
{
	unsigned from = i ? dice(i) : 0, at = dice(PAGES);

	switch (dice(6)) {
	case 0:
		put(runs, page, CRCORE__SOURCE__ZERO, 0, 0);
		break;
	case 1:
		put(runs, page, CRCORE__SOURCE__GUARD, 0, 0);
		break;
	case 2:
		if (!i || m->where[from][at] == NONE || m->other[from][at])
			break;
		put(runs, page, CRCORE__SOURCE__OTHER, BASE + at * PAGE, m->mms[from]->id);
		m->where[i][page] = m->where[from][at];
		m->other[i][page] = true;
		break;
	default:
		put(runs, page, CRCORE__SOURCE__PAGES, m->pages, 0);
		m->where[i][page] = m->pages;
		m->pages += PAGE;
	}
}

static void fill_mm(struct made *m, unsigned i, const struct made *parent)
{
	struct runs runs = { 0 }, kept = { 0 };
	unsigned from = dice(MMS), scarce = dice(8) + 1;

	for (unsigned page = 0; page < PAGES; page++) {
		size_t n = runs.n;
		uint64_t pages = runs.n ? runs.v[runs.n - 1]->pages : 0;
		m->where[i][page] = NONE;
		m->other[i][page] = false;
		from = dice(8) ? from : dice(MMS); /* ranges may be of several */
		if (parent && parent->where[from][page] != NONE && dice(scarce)) {
			put(&kept, page, CRCORE__SOURCE__PARENT, 0, parent->mms[from]->id);
			m->where[i][page] = parent->where[from][page];
			continue;
		}
		put_own(m, i, page, &runs);
		bool has_run = runs.n > n || (n && runs.v[n - 1]->pages > pages);
		if (has_run && parent && dice(2)) /* a range may go on beneath */
			put(&kept, page, CRCORE__SOURCE__PARENT, 0, parent->mms[from]->id);
	}
	m->mms[i]->runs = runs.v;
	m->mms[i]->n_runs = runs.n;
	m->mms[i]->kept = kept.v;
	m->mms[i]->n_kept = kept.n;
}

static void write_made(struct made *m, const struct made *parent)
{
	static char zeroes[MMS * PAGES * PAGE];
	struct crcore_error err = CRCORE_ERROR_INIT;
	Crcore__Parent p = CRCORE__PARENT__INIT;
	Crcore__Manifest manifest;
	struct image *img;

	assert_int_equal(image_create(m->dir, false, &img, &err), 0);
	int fd = image_bulk(img, PAGE_FILE, &err);
	assert_true(fd >= 0);
	if (m->pages > m->before)
		assert_int_equal(image_bulk_block(img, fd, 0, zeroes, m->pages - m->before, &err), 0);
	for (unsigned i = 0; i < MMS; i++)
		assert_int_equal(image_put_message(img, "core", "mm", &m->mms[i]->base, &err), 0);
	sample_manifest(&manifest);
	if (parent) {
		p.path = (char *)parent->dir;
		p.checksum = parent->checksum;
		p.pages = parent->pages;
		manifest.parent = &p;
	}
	assert_int_equal(image_seal(img, &manifest, &err), 0);
	m->checksum = manifest.checksum;
	image_close(img);
}

static void make(struct made *m, const struct made *parent, unsigned number)
{
	*m = (struct made){ .before = parent ? parent->pages : 0 };
	m->pages = m->before;
	snprintf(m->dir, sizeof(m->dir), "%s/%u", folder_top, number);
	for (unsigned i = 0; i < MMS; i++) {
		m->mms[i] = new_mm(100 * number + 10 * (i + 1));
		fill_mm(m, i, parent);
	}
	write_made(m, parent);
}

static void drop(struct made *m)
{
	for (unsigned i = 0; i < MMS; i++)
		crcore__mm__free_unpacked(m->mms[i], NULL);
	folder_remove(m->dir);
}

/* ---- what is read ---- */

static int add(void *arg, ProtobufCMessage *m, struct crcore_error *err)
{
	struct core_records *rec = arg;

	rec->mms[rec->nmms++] = (Crcore__Mm *)m;
	return 0;
}

/* 0, or what it is refused with, which must say something. */
static int read_chain(const struct made *m, struct core_records *rec)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct pages *pages;

	rec->mms = calloc(MMS, sizeof(*rec->mms));
	assert_int_equal(image_open(m->dir, true, &img, &err), 0);
	assert_int_equal(image_each_message(img, "core", "mm", &crcore__mm__descriptor, add, rec,
	                                    &err), 0);
	assert_int_equal(pages_open(img, &pages, &err), 0);
	assert_int_equal(pages_length(pages), m->pages);
	int r = memory_runs(img, rec, pages_length(pages), &err);
	assert_int_equal(r, err.code);
	if (r < 0)
		assert_true(err.message[0] && err.object[0] && err.advice[0]);
	pages_close(pages);
	image_close(img);
	return r;
}

static void forget(struct core_records *rec)
{
	for (unsigned i = 0; i < rec->nmms; i++)
		crcore__mm__free_unpacked(rec->mms[i], NULL);
	free(rec->mms);
	*rec = (struct core_records){ 0 };
}

static uint64_t found_at(const struct core_records *rec, const Crcore__Mm *m, uint64_t addr)
{
	size_t i = runs_behind(m->runs, m->n_runs, addr);
	unsigned k = 0;

	if (i == m->n_runs || m->runs[i]->addr > addr)
		return NONE;
	const Crcore__Run *r = m->runs[i];
	if (r->source == CRCORE__SOURCE__PAGES)
		return r->offset + (addr - r->addr);
	if (r->source != CRCORE__SOURCE__OTHER)
		return NONE;
	while (rec->mms[k]->id != r->mm)
		k++;
	return found_at(rec, rec->mms[k], r->offset + (addr - r->addr));
}

static void compare(const struct made *m)
{
	struct core_records rec = { 0 };
	struct crcore_error err = CRCORE_ERROR_INIT;

	assert_int_equal(read_chain(m, &rec), 0);
	assert_int_equal(rec.nmms, MMS);
	for (unsigned i = 0; i < MMS; i++) {
		struct spans covered = { 0 };
		assert_int_equal(rec.mms[i]->n_kept, 0);
		assert_int_equal(older_covered(m->mms[i], &covered, &err), 0);
		for (unsigned p = 0; p < PAGES; p++) {
			uint64_t at = BASE + p * PAGE;
			assert_int_equal(found_at(&rec, rec.mms[i], at), m->where[i][p]);
			assert_int_equal(spans_overlap(&covered, at, at + PAGE), m->where[i][p] != NONE);
		}
		uint64_t room = 1 << 20;
		assert_int_equal(mm_validate(rec.mms[i], rec.mms, i, m->pages, &room, &err), 0);
		spans_free(&covered);
	}
	forget(&rec);
}

static void test_random(void **state)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct made v[IMAGES];
		for (unsigned i = 0; i < IMAGES; i++) {
			make(&v[i], i ? &v[i - 1] : NULL, i);
			compare(&v[i]);
		}
		for (unsigned i = 0; i < IMAGES; i++)
			drop(&v[i]);
	}
}

/* ---- what is refused ---- */

/* A parent with pages 0 to 3 in its first mm, and a child that keeps them. */
static void make_two(struct made v[2])
{
	for (unsigned n = 0; n < 2; n++) {
		v[n] = (struct made){ .before = n ? v[0].pages : 0, .pages = n ? v[0].pages : 4 * PAGE };
		snprintf(v[n].dir, sizeof(v[n].dir), "%s/%u", folder_top, n);
		for (unsigned i = 0; i < MMS; i++)
			v[n].mms[i] = new_mm(10 * (i + 1));
		struct runs l = { 0 };
		for (unsigned p = 0; p < 4; p++)
			put(&l, p, n ? CRCORE__SOURCE__PARENT : CRCORE__SOURCE__PAGES, n ? 0 : p * PAGE,
			    n ? 10 : 0);
		*(n ? &v[n].mms[0]->kept : &v[n].mms[0]->runs) = l.v;
		*(n ? &v[n].mms[0]->n_kept : &v[n].mms[0]->n_runs) = l.n;
	}
}

static int try_two(struct made v[2], bool orphan)
{
	struct core_records rec = { 0 };

	write_made(&v[0], NULL);
	v[1].pages -= orphan ? v[1].before : 0;
	v[1].before = orphan ? 0 : v[1].before;
	write_made(&v[1], orphan ? NULL : &v[0]);
	int r = read_chain(&v[1], &rec);
	forget(&rec);
	drop(&v[0]);
	drop(&v[1]);
	return r;
}

#define REFUSED(orphan, what) do { \
		struct made two_[2]; \
		make_two(two_); \
		Crcore__Mm *old = two_[0].mms[0], *young = two_[1].mms[0]; \
		(void)old; \
		(void)young; \
		what; \
		assert_int_equal(try_two(two_, orphan), -EBADMSG); \
	} while (0)

static void test_refused(void **state)
{
	struct made v[2];

	make_two(v);
	assert_int_equal(try_two(v, false), 0);
	REFUSED(true, );
	REFUSED(false, young->kept[0]->mm = 70);                    /* no such mm */
	REFUSED(false, young->kept[0]->mm = 20);                    /* it has no pages */
	REFUSED(false, young->kept[0]->pages = 5);                  /* not so many */
	REFUSED(false, old->runs[0]->source = CRCORE__SOURCE__ZERO); /* without bytes */
	REFUSED(false, old->runs[0]->offset = 5 * PAGE);            /* an ancestor's are checked */
	REFUSED(false, young->kept[0]->addr = BASE - PAGE);
	REFUSED(false, young->kept[0]->pages = PAGES + 1);
	REFUSED(false, young->kept[0]->source = CRCORE__SOURCE__ZERO);
	REFUSED(false, young->runs = young->kept; young->n_runs = 1; young->kept = NULL;
	        young->n_kept = 0);
	REFUSED(false, old->kept = old->runs; old->n_kept = 1; old->runs = NULL; old->n_runs = 0;
	        old->kept[0]->source = CRCORE__SOURCE__PARENT; old->kept[0]->offset = 0);
}

/* ---- what multiplies ---- */

static uint64_t most = UINT64_MAX;

uint64_t ranges_most(void) /* instead of the machine's */
{
	return most;
}

/* PAGES ranges that the first mm stores; the second has all of them, that often. */
static void make_often(struct made *m, unsigned often)
{
	struct runs own = { 0 }, others = { 0 };

	*m = (struct made){ .pages = 3 * PAGE };
	for (unsigned i = 0; i < MMS; i++) {
		m->mms[i] = new_mm(10 * (i + 1));
		m->mms[i]->vmas[0]->end = BASE + often * PAGES * PAGE;
	}
	for (unsigned p = 0; p < PAGES; p++)
		put(&own, p, CRCORE__SOURCE__PAGES, (2 - p % 3) * PAGE, 0);
	for (unsigned p = 0; p < often * PAGES; p++)
		put(&others, p, CRCORE__SOURCE__OTHER, BASE + p % PAGES * PAGE, 10);
	assert_int_equal(own.n, PAGES);
	assert_int_equal(others.n, often);
	m->mms[0]->runs = own.v;
	m->mms[0]->n_runs = own.n;
	m->mms[1]->runs = others.v;
	m->mms[1]->n_runs = others.n;
}

/* Made on that: every mm keeps the first pages of one of it. */
static void make_heirs(struct made *m, const struct made *parent, uint32_t id, unsigned pages)
{
	*m = (struct made){ .before = parent->pages, .pages = parent->pages };
	for (unsigned i = 0; i < MMS; i++) {
		struct runs kept = { 0 };
		m->mms[i] = new_mm(10 * (i + 1));
		for (unsigned p = 0; p < pages; p++)
			put(&kept, p, CRCORE__SOURCE__PARENT, 0, id);
		m->mms[i]->kept = kept.v;
		m->mms[i]->n_kept = kept.n;
	}
}

/* Reads the last, and plans a restore of one without ancestors, with that bound; drops all. */
static int try_bound(struct made *v, unsigned n, uint64_t bound)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records rec = { 0 };
	struct layouts l = { 0 };

	for (unsigned i = 0; i < n; i++) {
		snprintf(v[i].dir, sizeof(v[i].dir), "%s/%u", folder_top, i);
		write_made(&v[i], i ? &v[i - 1] : NULL);
	}
	most = bound;
	int r = read_chain(&v[n - 1], &rec);
	if (r == 0 && n == 1) {
		r = layouts_plan(NULL, 0, NULL, rec.mms, rec.nmms, 1 << 20, &l, &err);
		assert_true(r == 0 || (err.message[0] && err.object[0] && err.advice[0]));
	}
	most = UINT64_MAX;
	layouts_free(&l);
	forget(&rec);
	for (unsigned i = 0; i < n; i++)
		drop(&v[i]);
	return r;
}

#define BOUND_IS(ranges, n, what) for (unsigned enough = 0; enough < 2; enough++) { \
		struct made v[3]; \
		what; \
		assert_int_equal(try_bound(v, n, (ranges) - 1 + enough), enough ? 0 : -EBADMSG); \
	}

static void test_multiplied(void **state)
{
	/* What one refers to, and what all have, is looked up when the restore is planned. */
	BOUND_IS(31 * PAGES, 1, make_often(&v[0], 30));
	BOUND_IS(2 * PAGES, 1, make_often(&v[0], 1));
	/* Of an ancestor, before; even if little of it is kept. */
	BOUND_IS(31 * PAGES, 2, make_often(&v[0], 30); make_heirs(&v[1], &v[0], 20, 1));
	/* And what is kept, of one by many: in the image itself, and in an ancestor. */
	BOUND_IS(MMS * PAGES, 2, make_often(&v[0], 1); make_heirs(&v[1], &v[0], 10, PAGES));
	BOUND_IS(MMS * PAGES, 3, make_often(&v[0], 1); make_heirs(&v[1], &v[0], 10, PAGES);
	         make_heirs(&v[2], &v[1], 10, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_multiplied),
	};

	return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
