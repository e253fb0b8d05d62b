/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See older.h. From the oldest image that is referred to, to the youngest: what each has is
 * what it kept of the one before, with its own runs in its place.
 *
 * Records of ancestors are as untrusted as any: each is checked (mm_validate) before it is used.
 */
#include "core/image/core_records.h"
#include "core/memory/older.h"
#include "core/memory/save_priv.h"

/* The address spaces of an image, and all pages that they have: val is where the bytes are. */
struct older { Crcore__Mm **mms; unsigned n; struct spans *pages; };

static struct span span_of(const Crcore__Run *r, uint32_t tag)
{
	return (struct span){ r->addr, r->addr + r->pages * PAGE, r->addr, tag };
}

static bool has_bytes(const Crcore__Run *r)
{
	return r->source == CRCORE__SOURCE__PAGES || r->source == CRCORE__SOURCE__OTHER;
}

/* What is kept and has no run; tag: of which mm of the parent. */
static int kept(const Crcore__Mm *mm, struct spans *ret, struct crcore_error *err)
{
	struct spans ranges = { 0 }, runs = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < mm->n_kept; i++)
		ok = spans_push(&ranges, span_of(mm->kept[i], mm->kept[i]->mm));
	for (size_t i = 0; ok && i < mm->n_runs && mm->n_kept; i++)
		ok = spans_append(&runs, span_of(mm->runs[i], 0));
	ok = ok && spans_subtract(&ranges, &runs, ret);
	spans_free(&ranges);
	spans_free(&runs);
	return ok ? 0 : crcore_no_memory(err);
}

int older_covered(const Crcore__Mm *mm, struct spans *ret, struct crcore_error *err)
{
	struct spans own = { 0 }, left = { 0 };
	int r = kept(mm, &left, err);
	bool ok = true;

	for (size_t i = 0; i < left.n; i++)
		left.v[i].tag = 0;
	for (size_t i = 0; ok && i < mm->n_runs; i++)
		if (has_bytes(mm->runs[i]))
			ok = spans_append(&own, span_of(mm->runs[i], 0));
	if (r == 0 && (!ok || !spans_overlay(&left, &own, ret)))
		r = crcore_no_memory(err);
	spans_free(&own);
	spans_free(&left);
	return r;
}

/* ---- where the bytes are ------------------------------------------------------------------ */

/* What other has at [from, from + len), moved to addr. */
static bool move(const struct spans *other, uint64_t from, uint64_t len, uint64_t addr,
                 struct spans *ret)
{
	struct spans found = { 0 };
	bool ok = spans_clip(other, from, from + len, &found);

	for (size_t i = 0; ok && i < found.n; i++) {
		struct span *s = &found.v[i];
		ok = spans_append(ret, (struct span){ s->start - from + addr, s->end - from + addr,
		                                      s->val, s->tag });
	}
	spans_free(&found);
	return ok;
}

/* The pages of the one with that id; NULL: there is none. *hint: where the last one was. */
static const struct spans *pages_of(const struct older *o, uint32_t id, unsigned *hint)
{
	for (unsigned k = 0; k < o->n && o->mms[*hint]->id != id; k++)
		*hint = (*hint + 1) % o->n;
	return o->n && o->mms[*hint]->id == id ? &o->pages[*hint] : NULL;
}

static int own_pages(const Crcore__Mm *mm, const struct older *mms, struct spans *ret,
                     struct crcore_error *err)
{
	const uint64_t most = ranges_most();
	unsigned hint = 0;
	bool ok = true;

	for (size_t i = 0; ok && i < mm->n_runs; i++) {
		const Crcore__Run *r = mm->runs[i];
		uint64_t len = r->pages * PAGE;
		if (r->source == CRCORE__SOURCE__PAGES)
			ok = spans_append(ret, (struct span){ r->addr, r->addr + len, r->offset, 0 });
		if (r->source != CRCORE__SOURCE__OTHER)
			continue;
		const struct spans *other = pages_of(mms, r->mm, &hint);
		ok = ok && (!other || move(other, r->offset, len, r->addr, ret));
		if (ret->n > most)
			return ranges_too_many(mm, err);
	}
	return ok ? 0 : crcore_no_memory(err);
}

static int not_there(const Crcore__Mm *mm, uint64_t addr, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "address space %u, pages at %llx", mm->id,
	               (unsigned long long)addr);
	crcore_advise(err, "the image is damaged or was not made by crcore");
	return crcore_fail(err, -EBADMSG, "the image that it was made on does not have them");
}

/* What it has of the parent. */
static int kept_pages(const Crcore__Mm *mm, const struct older *parents, struct spans *ret,
                      struct crcore_error *err)
{
	struct spans left = { 0 };
	unsigned hint = 0;
	int r = kept(mm, &left, err);

	for (size_t i = 0; r == 0 && i < left.n; i++) {
		const struct span *x = &left.v[i];
		const struct spans *pages = pages_of(parents, x->tag, &hint);
		uint64_t at = x->start;
		for (size_t j = pages ? spans_find(pages, at) : 0;
		     pages && j < pages->n && pages->v[j].start <= at && at < x->end; j++)
			at = pages->v[j].end;
		if (at < x->end)
			r = not_there(mm, at, err);
		else if (!spans_clip(pages, x->start, x->end, ret))
			r = crcore_no_memory(err);
	}
	spans_free(&left);
	return r;
}

/* mms: those before it in the image, which it may refer to; parents: those of the parent image. */
static int all_pages(const Crcore__Mm *mm, const struct older *mms, const struct older *parents,
                     struct spans *ret, struct crcore_error *err)
{
	struct spans own = { 0 }, left = { 0 };
	int r = kept_pages(mm, parents, &left, err);

	if (r == 0)
		r = own_pages(mm, mms, &own, err);
	if (r == 0 && !spans_overlay(&left, &own, ret))
		r = crcore_no_memory(err);
	spans_free(&own);
	spans_free(&left);
	return r;
}

/* ---- the chain ------------------------------------------------------------------------------ */

struct chain { struct older *v; unsigned n; }; /* v[0]: the youngest, whose records are another's */

static int add_mm(void *arg, ProtobufCMessage *m, struct crcore_error *err)
{
	struct older *o = arg;

	if (!GROW(o->mms, o->n)) {
		protobuf_c_message_free_unpacked(m, NULL);
		return crcore_no_memory(err);
	}
	o->mms[o->n++] = (Crcore__Mm *)m;
	return 0;
}

static int check(const struct older *o, uint64_t pages_len, struct crcore_error *err)
{
	uint64_t room = ranges_most();
	int r = 0;

	for (unsigned i = 0; r == 0 && i < o->n; i++)
		r = mm_validate(o->mms[i], o->mms, i, pages_len, &room, err);
	return r;
}

static bool needs_parent(const struct older *o)
{
	for (unsigned i = 0; i < o->n; i++)
		if (o->mms[i]->n_kept)
			return true;
	return false;
}

/* Loads as many ancestors as are needed. */
static int load(struct chain *c, struct image *image, uint64_t pages_len, struct crcore_error *err)
{
	int r = check(&c->v[0], pages_len, err);

	while (r == 0 && needs_parent(&c->v[c->n - 1])) {
		image = image_older(image);
		if (!image)
			return not_there(c->v[c->n - 1].mms[0], 0, err);
		if (!GROW(c->v, c->n))
			return crcore_no_memory(err);
		struct older *o = &c->v[c->n++];
		*o = (struct older){ 0 };
		r = image_each_message(image, "core", "mm", &crcore__mm__descriptor, add_mm, o, err);
		if (r == 0)
			r = check(o, pages_len, err);
	}
	return r;
}

/* Runs instead of what is kept. */
static int make_runs(Crcore__Mm *mm, const struct older *parents, struct crcore_error *err)
{
	struct runs own = { mm->runs, mm->n_runs }, list = { 0 };
	struct spans left = { 0 };
	int r = kept_pages(mm, parents, &left, err);

	if (r == 0)
		r = runs_move(&list, &own, err);
	for (size_t i = 0; r == 0 && i < left.n; i++)
		r = runs_add(&list, left.v[i].start, (left.v[i].end - left.v[i].start) / PAGE,
		             CRCORE__SOURCE__PAGES, left.v[i].val, 0, err);
	if (r == 0)
		r = runs_sort(&list, err);
	spans_free(&left);
	runs_clear(&own);
	mm->runs = list.v;
	mm->n_runs = list.n;
	if (r < 0)
		return r;
	runs_clear(&(struct runs){ mm->kept, mm->n_kept });
	mm->kept = NULL;
	mm->n_kept = 0;
	return 0;
}

static int make_all_runs(const struct core_records *rec, const struct older *parents,
                         struct crcore_error *err)
{
	uint64_t n = 0, most = ranges_most();
	int r = 0;

	for (unsigned i = 0; r == 0 && i < rec->nmms; i++) {
		if (rec->mms[i]->n_kept)
			r = make_runs(rec->mms[i], parents, err);
		n += rec->mms[i]->n_runs;
		if (r == 0 && n > most)
			r = ranges_too_many(rec->mms[i], err);
	}
	return r;
}

static int find_pages_of(struct older *o, const struct older *parents, struct crcore_error *err)
{
	int r = (o->pages = calloc(o->n + 1, sizeof(*o->pages))) ? 0 : crcore_no_memory(err);
	uint64_t n = 0, most = ranges_most();

	for (unsigned i = 0; r == 0 && i < o->n; i++) {
		const struct older before = { o->mms, i, o->pages };
		r = all_pages(o->mms[i], &before, parents, &o->pages[i], err);
		n += o->pages[i].n;
		if (r == 0 && n > most)
			r = ranges_too_many(o->mms[i], err);
	}
	return r;
}

static void clear(struct older *o, bool records)
{
	for (unsigned i = 0; o->pages && i < o->n; i++)
		spans_free(&o->pages[i]);
	free(STEAL(o->pages));
	for (unsigned i = 0; records && i < o->n; i++)
		crcore__mm__free_unpacked(o->mms[i], NULL);
	if (records)
		free(o->mms);
}

int memory_runs(struct image *image, struct core_records *rec, uint64_t pages_len,
                struct crcore_error *err)
{
	struct older none = { 0 };
	struct chain c = { 0 };

	if (!GROW(c.v, c.n))
		return crcore_no_memory(err);
	c.v[c.n++] = (struct older){ rec->mms, rec->nmms, NULL };
	int r = load(&c, image, pages_len, err);
	for (unsigned i = c.n; r == 0 && i-- > 1;) {
		struct older *parents = i + 1 < c.n ? &c.v[i + 1] : &none;
		r = find_pages_of(&c.v[i], parents, err);
		clear(parents, false);
	}
	if (r == 0 && c.n > 1)
		r = make_all_runs(rec, &c.v[1], err);
	for (unsigned i = 0; i < c.n; i++)
		clear(&c.v[i], i);
	free(c.v);
	return r;
}
