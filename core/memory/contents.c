/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pages each address space has, as ranges of the page file: runs that
 * refer to another mm's pages become ranges of where those are stored, so
 * from here on two pages are one exactly if their ranges are the same.
 */
#include "core/memory/layout_priv.h"

static const Crcore__Mm *find_mm(const struct planner *p, uint32_t id, unsigned *hint)
{
	for (unsigned i = 0; i < p->n; i++) {
		if (p->places[*hint].rec->id == id)
			return p->places[*hint].rec;
		*hint = (*hint + 1) % p->n;
	}
	return NULL;
}

static bool add_other(const Crcore__Run *r, const Crcore__Mm *owner, struct spans *ret)
{
	uint64_t at = r->offset, end = r->offset + r->pages * PAGE;
	size_t i = runs_behind(owner->runs, owner->n_runs, at);

	for (; i < owner->n_runs && owner->runs[i]->addr < end; i++) {
		const Crcore__Run *o = owner->runs[i];
		uint64_t o_end = o->addr + o->pages * PAGE;
		uint64_t from = o->addr > at ? o->addr : at, to = o_end < end ? o_end : end;
		struct span s = { r->addr + (from - r->offset), r->addr + (to - r->offset),
		                  o->offset + (from - o->addr), 0 };
		if (o->source == CRCORE__SOURCE__PAGES && !spans_append(ret, s))
			return false;
	}
	return true;
}

static int read_runs(struct planner *p, struct place *pl, struct crcore_error *err)
{
	unsigned hint = 0;

	for (size_t i = 0; i < pl->rec->n_runs; i++) {
		const Crcore__Run *r = pl->rec->runs[i];
		struct span s = { r->addr, r->addr + r->pages * PAGE, r->offset, 0 };
		bool ok = true;

		if (r->source == CRCORE__SOURCE__PAGES) {
			ok = spans_append(&pl->contents, s);
		} else if (r->source == CRCORE__SOURCE__GUARD) {
			s.val = s.start;
			ok = spans_append(&pl->guards, s);
		} else if (r->source == CRCORE__SOURCE__OTHER) {
			const Crcore__Mm *owner = find_mm(p, r->mm, &hint);
			if (!owner)
				return crcore_fail(err, -EBADMSG, "pages of address space %u are not there",
				                   r->mm);
			ok = add_other(r, owner, &pl->contents);
		}
		if (!ok)
			return crcore_no_memory(err);
		if (pl->contents.n > p->room)
			return ranges_too_many(pl->rec, err);
	}
	p->room -= pl->contents.n;
	return 0;
}

/* Cuts ranges where one mapping ends; tag: index of the mapping. */
static int cut_at_mappings(struct place *pl, struct crcore_error *err)
{
	struct spans cut = { 0 };
	size_t vma = 0;

	for (size_t i = 0; i < pl->contents.n; i++) {
		struct span x = pl->contents.v[i];
		while (x.start < x.end) {
			while (vma + 1 < pl->rec->n_vmas && pl->rec->vmas[vma]->end <= x.start)
				vma++;
			struct span part = x;
			if (pl->rec->vmas[vma]->end > x.start && pl->rec->vmas[vma]->end < x.end)
				part.end = pl->rec->vmas[vma]->end;
			part.tag = (uint32_t)vma;
			if (!spans_append(&cut, part)) {
				spans_free(&cut);
				return crcore_no_memory(err);
			}
			x.val += part.end - x.start;
			x.start = part.end;
		}
	}
	spans_free(&pl->contents);
	pl->contents = cut;
	return 0;
}

int layout_contents(struct planner *p, struct crcore_error *err)
{
	int r = 0;

	p->room = ranges_most();
	for (unsigned i = 0; i < p->n && r == 0; i++)
		if ((r = read_runs(p, &p->places[i], err)) == 0)
			r = cut_at_mappings(&p->places[i], err);
	return r;
}
