/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of address spaces that carries out layouts as a restore would,
 * refuses what a kernel would refuse, and compares what comes out with the
 * history that the records are of.
 */
#include "layout-sim.h"

struct cell {
	uint64_t page;           /* number: address / PAGE */
	const Crcore__Vma *vma;  /* sort of mapping; NULL: vdso */
	uint64_t offset;         /* into the file */
	unsigned op, at;         /* which mmap made it, and which page of that it was */
	unsigned object;         /* physical page; 0: none */
	bool guard;
};

struct memory { struct cell *v; unsigned n; };

struct machine {
	const struct sim *sim;
	const struct layouts *layouts;
	struct memory mem[SIM_PROCS];   /* by mm */
	bool made[SIM_PROCS];
	uint64_t *ident; unsigned nobjects; /* of physical pages */
	unsigned ops, nmaps;
	const char *wrong;
};

static bool wrong(struct machine *m, const char *why)
{
	if (!m->wrong)
		m->wrong = why;
	return false;
}

static struct cell *look(struct memory *mem, uint64_t page)
{
	for (unsigned i = 0; i < mem->n; i++)
		if (mem->v[i].page == page)
			return &mem->v[i];
	return NULL;
}

static void clear(struct memory *mem, uint64_t page, uint64_t n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < mem->n; i++)
		if (mem->v[i].page < page || mem->v[i].page >= page + n)
			mem->v[kept++] = mem->v[i];
	mem->n = kept;
}

static struct cell *put(struct memory *mem, struct cell c)
{
	if (!GROW(mem->v, mem->n))
		abort();
	mem->v[mem->n] = c;
	return &mem->v[mem->n++];
}

/* ---- operations ---------------------------------------------------------------------- */

static bool in_region(const struct machine *m, uint64_t start, uint64_t end)
{
	return start < m->layouts->region_start + (1 << 20) && end > m->layouts->region_start;
}

static bool hits_vdso(struct memory *mem, uint64_t page, uint64_t n)
{
	for (unsigned i = 0; i < mem->n; i++)
		if (mem->v[i].page >= page && mem->v[i].page < page + n && !mem->v[i].vma)
			return true;
	return false;
}

static bool do_map(struct machine *m, struct memory *mem, const struct layout_map *x)
{
	uint64_t page = x->start / PAGE, n = (x->end - x->start) / PAGE;

	m->ops++;
	if (x->start >= x->end || in_region(m, x->start, x->end))
		return wrong(m, "maps over the region");
	if (hits_vdso(mem, page, n))
		return wrong(m, "maps over the vdso");
	clear(mem, page, n);
	m->nmaps++;
	for (uint64_t i = 0; i < n; i++)
		put(mem, (struct cell){ page + i, x->vma, x->offset + i * PAGE, m->nmaps, (unsigned)i,
		                        0, false });
	return true;
}

static bool do_fill(struct machine *m, struct memory *mem, const struct layout_fill *x)
{
	m->ops++;
	for (uint64_t i = 0; i < x->pages; i++) {
		struct cell *c = look(mem, x->addr / PAGE + i);
		if (!c || !c->vma || c->vma->shared)
			return wrong(m, "fills what is not private memory");
		m->ident[++m->nobjects] = x->file_offset + i * PAGE;
		c->object = m->nobjects;
	}
	return true;
}

static bool do_move(struct machine *m, struct memory *mem, const struct layout_move *x)
{
	uint64_t from = x->from / PAGE, to = x->to / PAGE, n = x->len / PAGE;
	struct cell *moved = calloc(n, sizeof(*moved));
	bool ok = true;

	m->ops++;
	if (from < to + n && to < from + n)
		ok = wrong(m, "moves a mapping onto itself");
	if (in_region(m, x->to, x->to + x->len) || hits_vdso(mem, to, n))
		ok = wrong(m, "moves over the region or the vdso");
	for (uint64_t i = 0; ok && i < n; i++) {
		struct cell *c = look(mem, from + i);
		if (!c || !c->vma || (i && (c->op != moved[0].op || c->at != moved[0].at + i)))
			ok = wrong(m, "moves what is not one mapping");
		else
			moved[i] = *c;
	}
	if (ok) {
		clear(mem, from, n);
		clear(mem, to, n);
	}
	for (uint64_t i = 0; ok && i < n; i++) {
		moved[i].page = to + i;
		put(mem, moved[i]);
	}
	free(moved);
	return ok;
}

static bool do_range(struct machine *m, struct memory *mem, const struct layout_range *x, char what)
{
	m->ops++;
	if (in_region(m, x->start, x->end) ||
	    (what == 'd' && hits_vdso(mem, x->start / PAGE, (x->end - x->start) / PAGE)))
		return wrong(m, "drops the region or the vdso");
	if (what == 'd')
		clear(mem, x->start / PAGE, (x->end - x->start) / PAGE);
	for (uint64_t p = x->start / PAGE; what != 'd' && p < x->end / PAGE; p++) {
		struct cell *c = look(mem, p);
		if (!c || !c->vma || c->vma->shared)
			return wrong(m, "advises on what is not private memory");
		c->object = 0;
		c->guard = what == 'g';
	}
	return true;
}

/* ---- a whole mm ------------------------------------------------------------------------ */

static void place_vdso(struct machine *m, unsigned mm)
{
	struct memory *mem = &m->mem[mm];
	unsigned kept = 0;

	for (unsigned i = 0; i < mem->n; i++)
		if (mem->v[i].vma)
			mem->v[kept++] = mem->v[i];
	mem->n = kept;
	for (unsigned i = 0; i < SIM_PAGES; i++)
		if (m->sim->spaces[mm]->p[i].mapped && m->sim->spaces[mm]->p[i].kind == SIM_VDSO) {
			clear(mem, SIM_BASE / PAGE + i, 1);
			put(mem, (struct cell){ .page = SIM_BASE / PAGE + i });
		}
}

static const struct layout *layout_of(const struct machine *m, unsigned mm)
{
	for (unsigned i = 0; i < m->layouts->n; i++)
		if (m->layouts->v[i].mm == mm + 1)
			return &m->layouts->v[i];
	return NULL;
}

static bool build(struct machine *m, unsigned mm);

static bool born(struct machine *m, unsigned parent, unsigned task)
{
	unsigned mm = m->sim->tasks[task]->mm - 1;

	if (mm == parent)
		return true;
	if (m->made[mm])
		return wrong(m, "makes an address space twice");
	struct memory *to = &m->mem[mm];
	for (unsigned i = 0; i < m->mem[parent].n; i++)
		put(to, m->mem[parent].v[i]);
	return build(m, mm);
}

static bool take_steps(struct machine *m, unsigned mm, const struct layout *l)
{
	unsigned map = 0, fill = 0;

	for (unsigned i = 0; i < l->nsteps; i++) {
		const struct layout_step *s = &l->steps[i];
		if (m->sim->tasks[s->parent]->mm != mm + 1)
			return wrong(m, "a step of somebody else");
		for (unsigned k = 0; k < s->nmaps; k++)
			if (!do_map(m, &m->mem[mm], &l->stage[map++]))
				return false;
		for (unsigned k = 0; k < s->nfills; k++)
			if (!do_fill(m, &m->mem[mm], &l->stage_fills[fill++]))
				return false;
		if (!born(m, mm, s->child))
			return false;
	}
	return map == l->nstage && fill == l->nstage_fills ? true :
	       wrong(m, "stages what belongs to no step");
}

static bool build(struct machine *m, unsigned mm)
{
	const struct layout *l = layout_of(m, mm);
	struct memory *mem = &m->mem[mm];
	bool ok = true;

	if (!l)
		return wrong(m, "no layout");
	m->made[mm] = true;
	place_vdso(m, mm);
	ok = take_steps(m, mm, l);
	for (unsigned i = 0; ok && i < l->nmoves; i++)
		ok = do_move(m, mem, &l->moves[i]);
	for (unsigned i = 0; ok && i < l->ndrops; i++)
		ok = do_range(m, mem, &l->drops[i], 'd');
	for (unsigned i = 0; ok && i < l->nmaps; i++)
		ok = do_map(m, mem, &l->maps[i]);
	for (unsigned i = 0; ok && i < l->nzaps; i++)
		ok = do_range(m, mem, &l->zaps[i], 'z');
	for (unsigned i = 0; ok && i < l->nfills; i++)
		ok = do_fill(m, mem, &l->fills[i]);
	for (unsigned i = 0; ok && i < l->nguards; i++)
		ok = do_range(m, mem, &l->guards[i], 'g');
	return ok;
}

/* ---- comparing ---------------------------------------------------------------------------- */

static bool same_mapping(const struct sim_page *x, const struct cell *c)
{
	static const uint32_t object[] = { 0, 0, SIM_FILE_A, SIM_FILE_B, SIM_SEGMENT };

	if (!c->vma)
		return x->kind == SIM_VDSO;
	return x->kind != SIM_VDSO && c->vma->object == object[x->kind] &&
	       c->vma->noreserve == (x->kind == SIM_NORESERVE) &&
	       c->vma->shared == (x->kind == SIM_SEGMENT) &&
	       (!object[x->kind] || c->offset == x->pgoff * PAGE);
}

/* first: of each physical page of the history, one of the machine that is it. */
static bool compare(struct machine *m, unsigned mm, unsigned *first, uint64_t *lost)
{
	struct memory *mem = &m->mem[mm];
	const struct sim_space *sp = m->sim->spaces[mm];
	static const struct sim_page nothing;

	for (unsigned i = 0; i < mem->n; i++)
		if (mem->v[i].page < SIM_BASE / PAGE || mem->v[i].page >= SIM_BASE / PAGE + SIM_PAGES)
			return wrong(m, "leaves a mapping behind");
	for (unsigned i = 0; i < SIM_PAGES; i++) {
		struct cell *c = look(mem, SIM_BASE / PAGE + i);
		const struct sim_page *x = sp->p[i].mapped ? &sp->p[i] : &nothing;
		if (!!c != x->mapped)
			return wrong(m, c ? "leaves a mapping behind" : "lacks a mapping");
		if (c && (!same_mapping(x, c) || c->guard != x->guard))
			return wrong(m, "another sort of mapping");
		if (c && !!c->object != !!x->id)
			return wrong(m, c->object ? "has a page that was not there" : "lacks a page");
	}
	for (unsigned i = 0; i < SIM_PAGES; i++) {
		struct cell *c = look(mem, SIM_BASE / PAGE + i);
		uint32_t id = sp->p[i].id;
		if (!c || !c->object)
			continue;
		if (first[id] && m->ident[first[id]] != m->ident[c->object])
			return wrong(m, "has the wrong page");
		*lost += first[id] && first[id] != c->object;
		if (!first[id])
			first[id] = c->object;
	}
	return true;
}

/* Mappings that are of several parts now, though they were one. */
static unsigned count_splits(struct machine *m, unsigned mm)
{
	const Crcore__Mm *rec = m->sim->mms[mm];
	unsigned n = 0;

	for (size_t i = 0; i < rec->n_vmas; i++) {
		uint64_t first = rec->vmas[i]->start / PAGE, end = rec->vmas[i]->end / PAGE;
		const struct cell *a = look(&m->mem[mm], first), *b;
		for (uint64_t p = first + 1; p < end; p++, a = b) {
			b = look(&m->mem[mm], p);
			if (a->op != b->op || (a->vma && a->at + 1 != b->at)) {
				n++;
				break;
			}
		}
	}
	return n;
}

/* Pages that were different must not have become one. */
static bool all_different(struct machine *m, const unsigned *first)
{
	unsigned *id_of = calloc(m->nobjects + 1, sizeof(*id_of));
	bool ok = true;

	for (unsigned i = 0; i < m->sim->next_id; i++) {
		if (first[i] && id_of[first[i]])
			ok = wrong(m, "two pages became one");
		id_of[first[i]] = i + 1;
	}
	free(id_of);
	return ok;
}

const char *machine_run(const struct sim *s, const struct layouts *l, struct outcome *ret)
{
	struct machine m = { .sim = s, .layouts = l };
	unsigned *first = calloc(s->next_id, sizeof(*first));

	m.ident = calloc(1 << 20, sizeof(*m.ident));
	*ret = (struct outcome){ 0 };
	build(&m, 0);
	for (unsigned i = 0; i < s->nmms && !m.wrong; i++) {
		if (m.made[i] && compare(&m, i, first, &ret->lost))
			ret->splits += count_splits(&m, i);
		else if (!m.wrong)
			wrong(&m, "an address space was never made");
	}
	if (!m.wrong)
		all_different(&m, first);
	for (unsigned i = 0; i < SIM_PROCS; i++)
		free(m.mem[i].v);
	free(m.ident);
	free(first);
	ret->ops = m.ops;
	return m.wrong;
}
