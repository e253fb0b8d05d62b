/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the kernel where a frozen tree has pages. It takes 1 ms for a gigabyte, in which it
 * visits every page: so what is asked is cut into pieces, which several threads share.
 */
#include "core/memory/watch.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"

#define PIECE_BYTES (64ull << 20)
#define PIECES_MAX 256           /* of one group: holes of any size cost nothing */
#define WORTH_KIB (256ull << 10) /* looked at in the time that it takes to start threads */
#define WORTH_MMS 12             /* ... so many small processes as well */

bool has_own_pages(const Crcore__Vma *v)
{
	return !v->shared && (v->backing == CRCORE__BACKING__ANON ||
	                      v->backing == CRCORE__BACKING__FILE ||
	                      v->backing == CRCORE__BACKING__HUGETLB);
}

size_t next_group(const Crcore__Mm *rec, size_t a, bool *own, bool *anon)
{
	size_t b = a + 1;

	*anon = rec->vmas[a]->backing == CRCORE__BACKING__ANON;
	*own = has_own_pages(rec->vmas[a]);
	while (*own && b < rec->n_vmas && has_own_pages(rec->vmas[b]) &&
	       (rec->vmas[b]->backing == CRCORE__BACKING__ANON) == *anon)
		b++;
	return b;
}

/* ---- pieces ------------------------------------------------------------------------------- */

static bool add_piece(struct save *s, unsigned mm, uint64_t start, uint64_t end, bool anon)
{
	if (!GROW(s->pieces, s->npieces))
		return false;
	s->pieces[s->npieces++] = (struct area){ .mm = mm, .start = start, .end = end, .anon = anon };
	return true;
}

/* Neighbouring mappings of a sort, from a to b. */
static bool cut_group(struct save *s, unsigned mm, size_t a, size_t b, bool anon)
{
	Crcore__Vma *const *v = s->tree->mms[mm]->rec->vmas;
	uint64_t start = v[a]->start, mapped = 0, size = 0;

	for (size_t i = a; i < b; i++)
		size += v[i]->end - v[i]->start;
	size = ALIGN_UP(size / PIECES_MAX + 1, PIECE_BYTES);
	for (size_t i = a; i < b; i++)
		for (uint64_t at = v[i]->start, until; at < v[i]->end; at = until) {
			until = at + (size - mapped) < v[i]->end ? at + (size - mapped) : v[i]->end;
			mapped += until - at;
			if (mapped < size)
				continue;
			if (!add_piece(s, mm, start, until, anon))
				return false;
			start = until;
			mapped = 0;
		}
	return !mapped || add_piece(s, mm, start, v[b - 1]->end, anon);
}

static bool cut_all(struct save *s)
{
	bool own, anon;

	for (unsigned i = 0; i < s->tree->nmms; i++) {
		const Crcore__Mm *rec = s->tree->mms[i]->rec;
		for (size_t a = 0, b; a < rec->n_vmas; a = b) {
			b = next_group(rec, a, &own, &anon);
			if (own && !cut_group(s, i, a, b, anon))
				return false;
		}
	}
	return true;
}

/* ---- looking ------------------------------------------------------------------------------ */

static int look_at(const struct save *s, struct area *p, struct crcore_error *err)
{
	const struct mm_save *m = &s->mms[p->mm];
	struct pagemap map = m->pagemap; /* others change what theirs says */

	return p->anon && m->saved ? pages_unclean(&map, p->start, p->end, &p->pages, &p->other, err) :
	       pages_find(&map, p->start, p->end, p->anon, &p->pages, err);
}

static int find_range(void *arg, size_t from, size_t to, struct crcore_error *err)
{
	const struct save *s = arg;
	uint64_t start = trace_start();
	int r = 0;

	for (size_t i = from; r == 0 && i < to; i++)
		r = look_at(s, &s->pieces[i], err);
	trace_end(start, TRACE_HERE, "memory", "find pages");
	return r;
}

int find_pages(struct save *s, struct crcore_error *err)
{
	uint64_t kib = 0;

	if (!cut_all(s))
		return crcore_no_memory(err);
	for (unsigned i = 0; i < s->tree->nmms; i++)
		kib += s->tree->mms[i]->task->anon_kib;
	size_t worth = kib / WORTH_KIB + s->tree->nmms / WORTH_MMS;
	return parallel_try(s->npieces, parallel_chunk(s->npieces, worth), find_range, s, err);
}

void pieces_clear(struct save *s)
{
	for (size_t i = 0; i < s->npieces; i++) {
		free(s->pieces[i].pages.v);
		spans_free(&s->pieces[i].other);
	}
	free(STEAL(s->pieces));
	s->npieces = 0;
}
