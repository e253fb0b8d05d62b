/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks the record of an address space that was read from an image. After it
 * restore and the layout planner use addresses, sizes and offsets without
 * another look, so whatever they rely on must be refused here.
 */
#include <ctype.h>
#include <sys/mman.h>
#include "core/memory/memory.h"
#include "core/util/util.h"

#define USER_END 0x7ffffffff000ULL /* 4-level page tables; a 5-level address is refused */
#define VSYSCALL_START 0xffffffffff600000ULL

#define KNOWN_ADVICE (1ull << MADV_RANDOM | 1ull << MADV_SEQUENTIAL | 1ull << MADV_DONTFORK | \
	1ull << MADV_MERGEABLE | 1ull << MADV_HUGEPAGE | 1ull << MADV_NOHUGEPAGE | \
	1ull << MADV_DONTDUMP | 1ull << MADV_WIPEONFORK)

static const char *bad_name(const Crcore__Vma *v)
{
	if (!v->name[0])
		return NULL;
	if (v->backing != CRCORE__BACKING__ANON && v->backing != CRCORE__BACKING__SEGMENT)
		return "only anonymous memory can have a name";
	if (strlen(v->name) >= 80)
		return "its name is too long";
	for (const char *p = v->name; *p; p++)
		if (!isprint((unsigned char)*p) || strchr("\\`$[]", *p))
			return "its name has characters that no name can have";
	return NULL;
}

static const char *bad_backing(const Crcore__Vma *v)
{
	switch (v->backing) {
	case CRCORE__BACKING__ANON:
		return v->shared ? "shared, but neither file nor segment" : NULL;
	case CRCORE__BACKING__HUGETLB:
		return v->shared || !v->huge_shift ? "impossible huge pages" : NULL;
	case CRCORE__BACKING__FILE:
		return v->object ? NULL : "a file without a number";
	case CRCORE__BACKING__SEGMENT:
		return v->object && v->shared ? NULL : "a segment that is not shared";
	case CRCORE__BACKING__VDSO:
	case CRCORE__BACKING__VVAR:
	case CRCORE__BACKING__VSYSCALL:
		return v->shared ? "a kernel mapping that is shared" : NULL;
	default:
		return "unknown backing";
	}
}

static const char *bad_vma(const Crcore__Vma *v)
{
	uint64_t page = v->huge_shift ? 1ull << (v->huge_shift & 63) : PAGE;

	if (v->huge_shift && (v->huge_shift <= 12 || v->huge_shift > 40))
		return "impossible size of huge pages";
	if (v->start >= v->end || v->start % page || v->end % page)
		return "impossible bounds";
	if (v->backing == CRCORE__BACKING__VSYSCALL ?
	    v->start != VSYSCALL_START || v->end != VSYSCALL_START + PAGE : v->end > USER_END)
		return "outside of the address space";
	if (v->offset % page || v->offset + (v->end - v->start) < v->offset ||
	    v->offset + (v->end - v->start) > INT64_MAX)
		return "impossible offset";
	if (v->prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC))
		return "unknown protection";
	if (v->advice & ~KNOWN_ADVICE)
		return "unknown advice";
	if (v->memory_nodes.len && v->memory_nodes.len != NODES / 8)
		return "a memory policy of the wrong size";
	if ((v->grows_down || v->droppable) && v->backing != CRCORE__BACKING__ANON)
		return "flags that only anonymous memory can have";
	return bad_backing(v);
}

static bool can_hold_pages(const Crcore__Vma *v)
{
	return !v->shared && (v->backing == CRCORE__BACKING__ANON ||
	                      v->backing == CRCORE__BACKING__FILE ||
	                      v->backing == CRCORE__BACKING__HUGETLB);
}

size_t runs_behind(Crcore__Run *const *v, size_t n, uint64_t addr)
{
	size_t a = 0, b = n;

	while (a < b) {
		size_t i = (a + b) / 2;
		if (v[i]->addr + v[i]->pages * PAGE <= addr)
			a = i + 1;
		else
			b = i;
	}
	return a;
}

static uint64_t end_of(const Crcore__Run *r)
{
	return r->addr + r->pages * PAGE;
}

/* Every page that a run refers to must be stored by the mm it refers to, or kept. Each step is one
 * of the ranges of which there is room for so many. */
static bool is_stored(const Crcore__Mm *m, uint64_t addr, uint64_t end, uint64_t *room)
{
	size_t i = runs_behind(m->runs, m->n_runs, addr);

	while (addr < end && *room) {
		const Crcore__Run *r = i < m->n_runs ? m->runs[i] : NULL;
		size_t k = m->n_kept ? runs_behind(m->kept, m->n_kept, addr) : 0;
		--*room;
		if (r && r->addr <= addr) {
			if (r->source != CRCORE__SOURCE__PAGES)
				return false;
			addr = end_of(r);
			i++;
		} else if (k < m->n_kept && m->kept[k]->addr <= addr) {
			addr = end_of(m->kept[k]);
			addr = r && r->addr < addr ? r->addr : addr;
		} else {
			return false;
		}
	}
	return addr >= end;
}

/* *hint: where in mms the last one was. */
static const char *bad_other(const Crcore__Mm *m, const Crcore__Run *r, Crcore__Mm *const *mms,
                             unsigned nmms, unsigned *hint, uint64_t *room)
{
	if (r->mm == m->id)
		return "refers to its own address space";
	for (unsigned i = 0; i < nmms && mms[*hint]->id != r->mm; i++)
		*hint = (*hint + 1) % nmms;
	if (!nmms || mms[*hint]->id != r->mm)
		return "refers to an address space that is not there";
	if (r->offset % PAGE || r->offset >= USER_END ||
	    !is_stored(mms[*hint], r->offset, r->offset + r->pages * PAGE, room))
		return "refers to pages that are not stored";
	return NULL;
}

/* The mappings from *at on must cover the run, and be of a sort that can have it. */
static const char *bad_place(const Crcore__Mm *m, const Crcore__Run *r, size_t *at)
{
	uint64_t pos = r->addr, end = r->addr + r->pages * PAGE;

	while (*at < m->n_vmas && m->vmas[*at]->end <= pos)
		++*at;
	for (size_t i = *at; pos < end; pos = m->vmas[i++]->end) {
		if (i == m->n_vmas || m->vmas[i]->start > pos || !can_hold_pages(m->vmas[i]))
			return "pages where no private mapping is";
		if (r->source == CRCORE__SOURCE__ZERO && m->vmas[i]->backing == CRCORE__BACKING__FILE)
			return "zero pages in the mapping of a file";
		if (r->source == CRCORE__SOURCE__GUARD && m->vmas[i]->backing == CRCORE__BACKING__HUGETLB)
			return "guard pages in huge pages";
	}
	return NULL;
}

static const char *bad_run(const Crcore__Run *r, uint64_t pages_len)
{
	if (!r->pages || r->addr % PAGE || r->addr >= USER_END ||
	    r->pages > (USER_END - r->addr) / PAGE)
		return "impossible bounds";
	switch (r->source) {
	case CRCORE__SOURCE__ZERO:
	case CRCORE__SOURCE__GUARD:
	case CRCORE__SOURCE__OTHER:
	case CRCORE__SOURCE__PARENT:
		return NULL;
	case CRCORE__SOURCE__PAGES:
		return r->offset % PAGE || r->offset > pages_len ||
		       r->pages * PAGE > pages_len - r->offset ? "outside of the page file" : NULL;
	default:
		return "unknown source";
	}
}

static int damaged(const Crcore__Mm *m, const char *what, uint64_t at, const char *why,
                   struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "address space %u, %s at %llx", m->id, what,
	               (unsigned long long)at);
	crcore_advise(err, "the image is damaged or was not made by crcore");
	return crcore_fail(err, -EBADMSG, "%s", why);
}

int ranges_too_many(const Crcore__Mm *m, struct crcore_error *err)
{
	return damaged(m, "pages", m->n_runs ? m->runs[0]->addr : 0, "pages are referred to so often "
	               "that there is no memory to tell where each of them is", err);
}

static int bad_list(const Crcore__Mm *m, Crcore__Run *const *v, size_t n, bool kept,
                    uint64_t pages_len, struct crcore_error *err)
{
	uint64_t at = 0;
	size_t vma = 0;

	for (size_t i = 0; i < n; i++) {
		const char *bad = bad_run(v[i], pages_len);
		if (!bad && (v[i]->source == CRCORE__SOURCE__PARENT) != kept)
			bad = "pages of another image among others";
		if (!bad && v[i]->addr < at)
			bad = "overlaps the one before";
		if (!bad)
			bad = bad_place(m, v[i], &vma);
		if (bad)
			return damaged(m, "pages", v[i]->addr, bad, err);
		at = end_of(v[i]);
	}
	return 0;
}

int mm_validate(const Crcore__Mm *m, Crcore__Mm *const *mms, unsigned nmms, uint64_t pages_len,
                uint64_t *room, struct crcore_error *err)
{
	uint64_t at = 0;
	unsigned hint = 0;

	for (size_t i = 0; i < m->n_vmas; i++) {
		const char *bad = bad_vma(m->vmas[i]);
		if (!bad)
			bad = bad_name(m->vmas[i]);
		if (!bad && m->vmas[i]->start < at)
			bad = "overlaps the one before";
		if (bad)
			return damaged(m, "mapping", m->vmas[i]->start, bad, err);
		at = m->vmas[i]->end;
	}
	int r = bad_list(m, m->kept, m->n_kept, true, pages_len, err);
	if (r == 0)
		r = bad_list(m, m->runs, m->n_runs, false, pages_len, err);
	for (size_t i = 0; r == 0 && i < m->n_runs; i++) {
		const char *bad = m->runs[i]->source == CRCORE__SOURCE__OTHER ?
		                  bad_other(m, m->runs[i], mms, nmms, &hint, room) : NULL;
		if (!*room)
			r = ranges_too_many(m, err);
		else if (bad)
			r = damaged(m, "pages", m->runs[i]->addr, bad, err);
	}
	return r;
}
