/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans how a tree's memory comes back with the sharing that it had; see
 * memory.h for what a layout is. The parts, each in its file:
 *
 *   tree      which address space is copied from which, at which moments
 *   contents  which pages each has, as ranges of the page file
 *   owners    which ranges of that several have
 *   lineage   which mappings were one once, and where each is staged
 *   separate  two mappings of one address space are never staged at one place
 *   want      from the leaves up: what each must be born with
 *   order     in which order its children are born
 *   stage     from the root down: what each makes before a child is born
 *   settle    what each does with all it has in the end
 *
 * Whatever goes wrong with staging costs sharing, never contents: each step
 * keeps account of what is there (struct state), and settle fills what differs.
 * If something was overwritten that was still wanted, its lineage is staged
 * out of the way and the plan made anew, a few times at most.
 */
#include "core/memory/layout_priv.h"

enum { TRIES = 4 };
#define FAVOURITE 0x300000000000ULL /* far from where programs and libraries are put */
#define LOWEST 0x10000000ULL
#define HIGHEST 0x7ff000000000ULL
#define GAP (16ULL << 20)           /* from what is mapped: stacks grow */

/* ---- free addresses ----------------------------------------------------------------- */

static bool used_addresses(const struct planner *p, struct spans *ret)
{
	for (unsigned i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->places[i].rec->n_vmas; k++) {
			const Crcore__Vma *v = p->places[i].rec->vmas[k];
			if (!spans_push(ret, (struct span){ v->start, v->end, v->start, 0 }))
				return false;
		}
	for (unsigned i = 0; i < p->nlineages; i++) {
		const struct lineage *l = &p->lineages[i];
		if (!l->elsewhere && !l->lost &&
		    !spans_push(ret, (struct span){ l->start, l->end, l->start, 0 }))
			return false;
	}
	return spans_sort(ret);
}

/* The hole that the region and the scratch space share: what is above the
 * favourite address if that is roomy, else the largest there is. */
static int find_hole(struct planner *p, uint64_t region_size, struct crcore_error *err)
{
	const uint64_t roomy = 1ULL << 40;
	uint64_t best = 0, best_len = 0, at = LOWEST;
	struct spans used = { 0 };

	if (!used_addresses(p, &used)) {
		spans_free(&used);
		return crcore_no_memory(err);
	}
	for (size_t i = 0; i <= used.n; i++) {
		uint64_t end = i < used.n && used.v[i].start < HIGHEST ? used.v[i].start : HIGHEST;
		uint64_t start = at < FAVOURITE && end > FAVOURITE + roomy ? FAVOURITE : at;
		uint64_t len = end > start + GAP ? end - start - GAP : 0;
		bool favoured = start == FAVOURITE || (at > FAVOURITE && len >= roomy);
		if (len > best_len || (favoured && len)) {
			best = start;
			best_len = len;
		}
		if (favoured && len)
			break;
		if (i < used.n && used.v[i].end + GAP > at)
			at = ALIGN_UP(used.v[i].end + GAP, GAP);
	}
	spans_free(&used);
	if (best_len < region_size)
		return crcore_fail(err, -ENOMEM, "no range of %llu bytes is free in all address spaces",
		                   (unsigned long long)region_size);
	p->region_start = best;
	p->scratch = ALIGN_UP(best + region_size + GAP, GAP);
	p->scratch_end = best + best_len;
	return 0;
}

uint64_t layout_scratch(struct planner *p, uint64_t len, uint64_t align)
{
	uint64_t start = ALIGN_UP(p->scratch, align);

	if (start < p->scratch || start > p->scratch_end || len > p->scratch_end - start)
		return 0;
	p->scratch = start + len;
	return start;
}

/* ---- the whole ------------------------------------------------------------------------- */

static void clear_state(struct state *s)
{
	if (s && --s->refs == 0) {
		spans_free(&s->pieces);
		spans_free(&s->pages);
		free(s);
	}
}

static void clear_place(struct place *pl)
{
	for (unsigned i = 0; i < pl->nmoments; i++) {
		free(pl->moments[i].mms);
		spans_free(&pl->moments[i].want);
		spans_free(&pl->moments[i].extents);
	}
	free(pl->moments);
	spans_free(&pl->contents);
	spans_free(&pl->guards);
	spans_free(&pl->shared);
	spans_free(&pl->own);
	spans_free(&pl->want);
	spans_free(&pl->extents);
	clear_state(pl->born);
}

static void planner_end(struct planner *p)
{
	for (unsigned i = 0; p->places && i < p->n; i++)
		clear_place(&p->places[i]);
	free(p->places);
	free(p->births);
	free(p->by_order);
	free(p->place_of_task);
	free(p->segments);
	free(p->nodes);
	free(p->lineages);
	layouts_free(&p->out);
}

/* Sets out of the way what was overwritten while it was wanted. False: that changed nothing. */
static bool improve(struct planner *p)
{
	bool changed = false;

	for (unsigned i = 0; i < p->nlineages; i++) {
		struct lineage *l = &p->lineages[i];
		if (l->in_the_way && !l->elsewhere && !l->lost) {
			lineage_relocate(p, l);
			changed = true;
		}
		l->in_the_way = false;
	}
	return changed;
}

static int plan(struct planner *p, uint64_t region_size, struct crcore_error *err)
{
	int r;

	if ((r = layout_contents(p, err)) < 0 || (r = layout_lineages(p, err)) < 0 ||
	    (r = find_hole(p, region_size, err)) < 0)
		return r;
	for (int try = 0; try < TRIES; try++) {
		p->final = p->final || try == TRIES - 1;
		if ((r = layout_wants(p, err)) < 0 || (r = layout_stage(p, err)) < 0 || p->final ||
		    (p->filled == p->unique && !p->splits))
			break;
		if (!improve(p)) {
			if (!p->splits)
				break;
			p->final = true;
		}
	}
	return r;
}

int layouts_plan(Crcore__Task *const *tasks, unsigned ntasks, const struct layout_birth *births,
                 Crcore__Mm *const *mms, unsigned nmms, uint64_t region_size,
                 struct layouts *ret, struct crcore_error *err)
{
	struct planner p = { .tasks = tasks, .ntasks = ntasks, .n = nmms };
	int r;

	p.places = calloc(nmms + 1, sizeof(*p.places));
	if (!p.places)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < nmms; i++)
		p.places[i].rec = mms[i];
	if ((r = layout_tree(&p, births, err)) == 0)
		r = plan(&p, region_size, err);
	if (r == 0) {
		p.out.region_start = p.region_start;
		p.out.lost = p.filled - p.unique;
		p.out.scratch = p.scratch;
		p.out.scratch_end = p.scratch_end;
		*ret = p.out;
		p.out = (struct layouts){ 0 };
	}
	planner_end(&p);
	return r;
}

void layouts_free(struct layouts *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		struct layout *v = &l->v[i];
		free(v->steps);
		free(v->stage);
		free(v->stage_fills);
		free(v->moves);
		free(v->drops);
		free(v->maps);
		free(v->zaps);
		free(v->fills);
		free(v->guards);
	}
	free(l->v);
	*l = (struct layouts){ 0 };
}
