/* SPDX-License-Identifier: Apache-2.0 */
/* Histories of processes, and the records that a dump at their end would make. */
#include <assert.h>
#include <sys/mman.h>
#include "layout-sim.h"

uint32_t sim_random(struct sim *s, uint32_t below)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (uint32_t)(s->random >> 20) % below;
}

static void place_vdso(struct sim *s, struct sim_space *sp)
{
	unsigned at = sim_random(s, 2) ? SIM_PAGES - SIM_VDSO_PAGES :
	              sim_random(s, SIM_PAGES - SIM_VDSO_PAGES);

	for (unsigned i = 0; i < SIM_VDSO_PAGES; i++)
		sp->p[at + i] = (struct sim_page){ .mapped = true, .kind = SIM_VDSO, .prot = PROT_READ,
		                                   .pgoff = i };
}

void sim_begin(struct sim *s, uint64_t seed)
{
	*s = (struct sim){ .random = seed * 0x9e3779b97f4a7c15ull + 1, .next_id = 1 };
	s->procs[0] = (struct sim_proc){ .pid = 100, .alive = true };
	s->procs[0].space = calloc(1, sizeof(struct sim_space));
	s->procs[0].space->refs = 1;
	place_vdso(s, s->procs[0].space);
	s->nprocs = 1;
}

struct sim_page *sim_at(struct sim_proc *p, unsigned page)
{
	return &p->space->p[page];
}

static bool is_vdso(struct sim_proc *p, unsigned page, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (sim_at(p, page + i)->mapped && sim_at(p, page + i)->kind == SIM_VDSO)
			return true;
	return false;
}

void sim_map(struct sim *s, struct sim_proc *p, unsigned page, unsigned n, enum sim_kind kind)
{
	unsigned offset = kind == SIM_ANON || kind == SIM_NORESERVE ? page : sim_random(s, 8);

	for (unsigned i = 0; i < n; i++)
		*sim_at(p, page + i) = (struct sim_page){ .mapped = true, .kind = kind,
			.prot = PROT_READ | PROT_WRITE, .pgoff = offset + i, .map = s->next_map };
	s->next_map++;
}

void sim_unmap(struct sim_proc *p, unsigned page, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		*sim_at(p, page + i) = (struct sim_page){ 0 };
}

void sim_write(struct sim *s, struct sim_proc *p, unsigned page, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct sim_page *x = sim_at(p, page + i);
		if (x->mapped && x->kind != SIM_SEGMENT && x->kind != SIM_VDSO && !x->guard)
			x->id = s->next_id++;
	}
}

void sim_move(struct sim_proc *p, unsigned from, unsigned to, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		*sim_at(p, to + i) = *sim_at(p, from + i);
		*sim_at(p, from + i) = (struct sim_page){ 0 };
	}
}

struct sim_proc *sim_fork(struct sim *s, struct sim_proc *p, bool share_vm)
{
	struct sim_proc *c = &s->procs[s->nprocs];

	assert(s->nprocs < SIM_PROCS);
	*c = (struct sim_proc){ .pid = 100 + s->nprocs, .ppid = p->pid, .seq = ++s->next_seq,
	                        .alive = true, .space = p->space };
	s->nprocs++;
	if (share_vm) {
		p->space->refs++;
		return c;
	}
	c->space = malloc(sizeof(*c->space));
	*c->space = *p->space;
	c->space->refs = 1;
	return c;
}

static void leave_space(struct sim_proc *p)
{
	if (--p->space->refs == 0)
		free(p->space);
	p->space = NULL;
}

void sim_exec(struct sim *s, struct sim_proc *p)
{
	leave_space(p);
	p->space = calloc(1, sizeof(*p->space));
	p->space->refs = 1;
	place_vdso(s, p->space);
	sim_map(s, p, 1, 6, SIM_FILE_A);
	sim_write(s, p, 2, 3);
}

void sim_exit(struct sim *s, struct sim_proc *p)
{
	for (unsigned i = 0; i < s->nprocs; i++)
		if (s->procs[i].alive && s->procs[i].ppid == p->pid) {
			s->procs[i].ppid = s->procs[0].pid;
			s->procs[i].seq = ++s->next_seq;
		}
	leave_space(p);
	p->alive = false;
}

/* ---- random steps ------------------------------------------------------------------- */

static struct sim_proc *any_proc(struct sim *s)
{
	struct sim_proc *p;

	do
		p = &s->procs[sim_random(s, s->nprocs)];
	while (!p->alive);
	return p;
}

static bool has_children(const struct sim *s, const struct sim_proc *p)
{
	for (unsigned i = 0; i < s->nprocs; i++)
		if (s->procs[i].alive && s->procs[i].ppid == p->pid)
			return true;
	return false;
}

/* The mapping that a page is in, as the kernel would keep it. */
static unsigned mapping_end(const struct sim *s, struct sim_proc *p, unsigned page)
{
	unsigned e = page + 1;

	while (e < SIM_PAGES && sim_at(p, e)->mapped && sim_at(p, e)->kind == sim_at(p, page)->kind &&
	       sim_at(p, e)->prot == sim_at(p, page)->prot &&
	       (s->merge || sim_at(p, e)->map == sim_at(p, page)->map) &&
	       sim_at(p, e)->pgoff == sim_at(p, page)->pgoff + (e - page))
		e++;
	return e;
}

static void random_move(struct sim *s, struct sim_proc *p, unsigned page)
{
	unsigned n = mapping_end(s, p, page) - page;
	unsigned to;

	n = 1 + sim_random(s, n);
	to = sim_random(s, SIM_PAGES - n + 1);
	if (to + n <= page || to >= page + n)
		if (!is_vdso(p, to, n))
			sim_move(p, page, to, n);
}

static void change(struct sim *s, struct sim_proc *p, unsigned what)
{
	unsigned page = sim_random(s, SIM_PAGES - 1), n = 1 + sim_random(s, 12);

	if (page + n > SIM_PAGES)
		n = SIM_PAGES - page;
	if (is_vdso(p, page, n))
		return;
	if (what == 0)
		sim_map(s, p, page, n, sim_random(s, SIM_VDSO));
	else if (what == 1)
		sim_unmap(p, page, n);
	else if (what < 7)
		sim_write(s, p, page, n);
	else if (what == 7 && sim_at(p, page)->mapped)
		random_move(s, p, page);
	else
		for (unsigned i = 0; i < n; i++) {
			if (what == 8)
				sim_at(p, page + i)->prot = PROT_READ | (sim_random(s, 2) ? PROT_WRITE : 0);
			else if (what == 9)
				sim_at(p, page + i)->id = 0; /* thrown away */
			else if (what == 10 && sim_at(p, page + i)->kind == SIM_ANON &&
			         sim_at(p, page + i)->mapped && i < 2)
				*sim_at(p, page + i) = (struct sim_page){ .mapped = true, .guard = true,
					.prot = sim_at(p, page + i)->prot, .map = sim_at(p, page + i)->map,
					.pgoff = sim_at(p, page + i)->pgoff };
		}
}

void sim_random_step(struct sim *s)
{
	struct sim_proc *p = any_proc(s);
	unsigned what = sim_random(s, 16);

	if (what < 11)
		change(s, p, what);
	else if (what < 14 && s->nprocs < SIM_PROCS)
		sim_fork(s, p, s->share_vm && sim_random(s, 5) == 0);
	else if (what == 14 && p != s->procs && (s->reparent || !has_children(s, p)))
		sim_exit(s, p);
	else if (what == 15 && sim_random(s, 6) == 0 && p->space->refs == 1)
		sim_exec(s, p);
}

/* ---- records --------------------------------------------------------------------------- */

static void add_vma(Crcore__Mm *m, const struct sim_space *sp, unsigned first, unsigned end)
{
	static const Crcore__Backing backing[] = {
		CRCORE__BACKING__ANON, CRCORE__BACKING__ANON, CRCORE__BACKING__FILE,
		CRCORE__BACKING__FILE, CRCORE__BACKING__SEGMENT, CRCORE__BACKING__VDSO,
	};
	const struct sim_page *x = &sp->p[first];
	Crcore__Vma *v = malloc(sizeof(*v));

	crcore__vma__init(v);
	v->start = SIM_BASE + first * PAGE;
	v->end = SIM_BASE + end * PAGE;
	v->prot = x->prot;
	v->backing = backing[x->kind];
	v->noreserve = x->kind == SIM_NORESERVE;
	v->shared = x->kind == SIM_SEGMENT;
	if (x->kind == SIM_FILE_A || x->kind == SIM_FILE_B || x->kind == SIM_SEGMENT) {
		v->object = x->kind;
		v->offset = x->pgoff * PAGE;
	}
	m->vmas = realloc(m->vmas, (m->n_vmas + 1) * sizeof(*m->vmas));
	m->vmas[m->n_vmas++] = v;
}

static void add_run(Crcore__Mm *m, unsigned page, Crcore__Source source, uint64_t offset, uint32_t mm)
{
	Crcore__Run *last = m->n_runs ? m->runs[m->n_runs - 1] : NULL;

	if (last && last->addr + last->pages * PAGE == SIM_BASE + page * PAGE &&
	    last->source == source && last->mm == mm && last->offset + last->pages * PAGE == offset) {
		last->pages++;
		return;
	}
	m->runs = realloc(m->runs, (m->n_runs + 1) * sizeof(*m->runs));
	m->runs[m->n_runs] = malloc(sizeof(Crcore__Run));
	crcore__run__init(m->runs[m->n_runs]);
	*m->runs[m->n_runs] = (Crcore__Run){ .base = m->runs[m->n_runs]->base,
		.addr = SIM_BASE + page * PAGE, .pages = 1, .source = source, .offset = offset, .mm = mm };
	m->n_runs++;
}

struct seen { uint32_t mm; unsigned page; };

static void add_space(struct sim *s, const struct sim_space *sp, struct seen *seen)
{
	Crcore__Mm *m = malloc(sizeof(*m));

	crcore__mm__init(m);
	m->id = s->nmms + 1;
	s->spaces[s->nmms] = sp;
	s->mms[s->nmms++] = m;
	struct sim_proc view = { .space = (struct sim_space *)(uintptr_t)sp };
	for (unsigned i = 0, e; i < SIM_PAGES; i = e) {
		e = i + 1;
		if (sp->p[i].mapped)
			add_vma(m, sp, i, e = mapping_end(s, &view, i));
	}
	for (unsigned i = 0; i < SIM_PAGES; i++) {
		uint32_t id = sp->p[i].id;
		if (sp->p[i].mapped && sp->p[i].guard) {
			add_run(m, i, CRCORE__SOURCE__GUARD, 0, 0);
		} else if (sp->p[i].mapped && id && seen[id].mm) {
			add_run(m, i, CRCORE__SOURCE__OTHER, SIM_BASE + seen[id].page * PAGE, seen[id].mm);
		} else if (sp->p[i].mapped && id) {
			seen[id] = (struct seen){ m->id, i };
			add_run(m, i, CRCORE__SOURCE__PAGES, s->pages_len, 0);
			s->pages_len += PAGE;
		}
	}
}

static void add_task(struct sim *s, struct sim_proc *p, struct seen *seen)
{
	Crcore__Task *t = malloc(sizeof(*t));
	unsigned last = 0;

	crcore__task__init(t);
	t->pid = p->pid;
	t->ppid = p->ppid;
	s->tasks[s->ntasks++] = t;
	for (unsigned i = 0; i < s->nmms && !t->mm; i++)
		if (s->spaces[i] == p->space)
			t->mm = i + 1;
	if (!t->mm) {
		add_space(s, p->space, seen);
		t->mm = s->nmms;
	}
	for (;;) { /* its children, in the order in which they became that */
		struct sim_proc *next = NULL;
		for (unsigned i = 0; i < s->nprocs; i++)
			if (s->procs[i].alive && s->procs[i].ppid == p->pid && s->procs[i].seq > last &&
			    (!next || s->procs[i].seq < next->seq))
				next = &s->procs[i];
		if (!next)
			break;
		last = next->seq;
		add_task(s, next, seen);
	}
}

void sim_records(struct sim *s)
{
	struct seen *seen = calloc(s->next_id, sizeof(*seen));

	add_task(s, &s->procs[0], seen);
	free(seen);
}

void sim_end(struct sim *s)
{
	for (unsigned i = 0; i < s->ntasks; i++)
		crcore__task__free_unpacked(s->tasks[i], NULL);
	for (unsigned i = 0; i < s->nmms; i++)
		crcore__mm__free_unpacked(s->mms[i], NULL);
	for (unsigned i = 0; i < s->nprocs; i++)
		if (s->procs[i].alive)
			leave_space(&s->procs[i]);
}
