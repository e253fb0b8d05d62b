/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of one address space, from its layout (core/memory): before the
 * children are born what they inherit, afterwards what is its own.
 *
 * Mappings that pages are read into are made writable first; mappings_finish()
 * gives them the protection that they had. Nothing is made writable that needs
 * no pages: a large reservation without access must not be charged.
 */
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "core/memory/vmas.h"
#include "core/restore/restore.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define ADVICE(n) (1ULL << (n))
#define LARGE (64ULL << 20) /* no machine has less */
#define HUGE (ADVICE(MADV_HUGEPAGE) | ADVICE(MADV_NOHUGEPAGE))

const struct layout *layout_of(const struct stub *s)
{
	const struct restore *r = s->r;

	return s->rec && s->rec->mm ? r->layout_at[core_mm_index(&r->rec, s->rec->mm)] : NULL;
}

/* ---- mappings ---------------------------------------------------------------------- */

/* The descriptor of the last backing: neighbours often have the same. */
struct backing {
	uint32_t op;       /* that fetched it; UINT32_MAX: none */
	uint32_t id;
	bool segment;
};

static void backing_close(struct stub *s, struct backing *b)
{
	if (b->op != UINT32_MAX)
		close_fd(s->p, b->op);
	b->op = UINT32_MAX;
}

static int backing_open(struct stub *s, struct backing *b, const Crcore__Vma *v,
                        struct crcore_error *err)
{
	bool segment = v->backing == CRCORE__BACKING__SEGMENT;

	if (b->op != UINT32_MAX && b->id == v->object && b->segment == segment)
		return 0;
	backing_close(s, b);
	int fd = segment ? segment_fd(s->r, v->object) : object_fd(s->r, v->object, err);
	if (fd < 0 && !s->r->only_plan)
		return crcore_fail(err, fd, "what is mapped at %#llx was not made",
		                   (unsigned long long)v->start);
	*b = (struct backing){ fetch_fd(s->r, s->p, "fetch mapped file", fd), v->object, segment };
	return 0;
}

static uint64_t map_flags(const Crcore__Vma *v)
{
	uint64_t flags = MAP_FIXED | (v->shared ? MAP_SHARED : MAP_PRIVATE);

	if (v->backing == CRCORE__BACKING__HUGETLB)
		flags |= MAP_ANONYMOUS | MAP_HUGETLB | (uint64_t)v->huge_shift << MAP_HUGE_SHIFT;
	else if (v->backing != CRCORE__BACKING__FILE && v->backing != CRCORE__BACKING__SEGMENT)
		flags |= MAP_ANONYMOUS;
	if (v->grows_down)
		flags |= MAP_GROWSDOWN;
	if (v->noreserve)
		flags |= MAP_NORESERVE;
	if (v->droppable)
		flags = (flags & ~(uint64_t)MAP_PRIVATE) | MAP_DROPPABLE;
	return flags;
}

/* Charged memory stays charged when it loses its write permission. */
static bool is_charged(const Crcore__Vma *v)
{
	return v->accounted && !v->shared && !(v->prot & PROT_WRITE);
}

static void advise_huge(struct stub *s, const struct layout_map *m)
{
	for (unsigned bit = MADV_HUGEPAGE; bit <= MADV_NOHUGEPAGE; bit++)
		if (m->vma->advice & ADVICE(bit))
			CALL(s->p, "advise", SYS_madvise, EXPECT_EQUAL, 0, IMM(m->start),
			     IMM(m->end - m->start), IMM(bit));
}

/* More than the machine has is not granted in one call (vm.overcommit_memory 0), but a mapping may
 * have grown beyond that. So it grows once more: what lies side by side the kernel joins. */
static uint64_t mapped_at_once(const Crcore__Vma *v, uint64_t prot, uint64_t len)
{
	if (len < LARGE || v->shared || v->noreserve || !(prot & PROT_WRITE) ||
	    v->backing == CRCORE__BACKING__HUGETLB)
		return len;
	const uint64_t half = (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * PAGE;
	return len < half ? len : half;
}

/* What is staged is for mappings of several protections: each gets its own in the end. */
static int map(struct stub *s, struct backing *b, const struct layout_map *m, bool writable,
               bool staged, struct crcore_error *err)
{
	const Crcore__Vma *v = m->vma;
	struct crcore_arg fd = IMM(-1), offset = IMM(0);
	uint64_t prot = staged ? PROT_READ | PROT_WRITE :
	                v->prot | (writable || is_charged(v) ? PROT_WRITE : 0);

	const bool file = v->backing == CRCORE__BACKING__FILE || v->backing == CRCORE__BACKING__SEGMENT;

	if (file) {
		int r = backing_open(s, b, v, err);
		if (r < 0)
			return r;
		fd = RESULT(b->op);
		offset = IMM(m->offset);
	}
	for (uint64_t at = m->start, len; at < m->end; at += len) {
		len = mapped_at_once(v, prot, m->end - at);
		CALL(s->p, "map", SYS_mmap, EXPECT_EQUAL, (int64_t)at, IMM(at), IMM(len), IMM(prot),
		     IMM(map_flags(v)), fd, offset);
		offset.value += file ? len : 0;
	}
	advise_huge(s, m);
	return 0;
}

/* Is anything read into [start, end)? Both lists ascend: *at goes on from call to call. */
static bool filled(const struct layout_fill *f, unsigned n, unsigned *at, uint64_t start,
                   uint64_t end)
{
	while (*at < n && f[*at].addr + f[*at].pages * PAGE <= start)
		++*at;
	return *at < n && f[*at].addr < end;
}

/* What its plugin maps, not we. */
static bool is_plugins(const struct stub *s, const Crcore__Vma *v)
{
	return v->shared && v->backing == CRCORE__BACKING__FILE && object_maps(s->r, v->object);
}

/* f NULL: what is staged, all of it writable. */
static int map_all(struct stub *s, const struct layout_map *m, unsigned n,
                   const struct layout_fill *f, unsigned nf, struct crcore_error *err)
{
	struct backing b = { .op = UINT32_MAX };
	unsigned at = 0;
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		if (i && m[i].start < m[i - 1].start)
			at = 0;
		bool write = !m[i].vma->shared && (!f || filled(f, nf, &at, m[i].start, m[i].end));
		if (!vma_is_special(m[i].vma) && !is_plugins(s, m[i].vma))
			r = map(s, &b, &m[i], write, !f, err);
	}
	backing_close(s, &b);
	return r;
}

/* All mappings of one object at once: to its plugin they may be one thing. */
static int map_object(struct stub *s, const struct layout *l, unsigned first,
                      struct crcore_error *err)
{
	uint32_t id = l->maps[first].vma->object, n = 0;
	cleanup_free struct crcore_mapping *v = calloc(l->nmaps, sizeof(*v));
	cleanup_free const struct crcore_mapping **p = calloc(l->nmaps, sizeof(*p));

	if (!v || !p)
		return crcore_no_memory(err);
	for (unsigned i = first; i < l->nmaps; i++) {
		const Crcore__Vma *vma = l->maps[i].vma;
		if (!is_plugins(s, vma) || vma->object != id)
			continue;
		v[n] = (struct crcore_mapping){ sizeof(*v), vma->prot, l->maps[i].start, l->maps[i].end,
			                        l->maps[i].offset, (pid_t)s->rec->pid };
		p[n] = &v[n];
		n++;
	}
	int r = object_map(s->r, id, p, n, s->p, err);
	struct backing b = { .op = UINT32_MAX };
	bool mapped = r == 1;
	for (unsigned i = first; r >= 0 && i < l->nmaps; i++) {
		if (l->maps[i].vma->object != id || !is_plugins(s, l->maps[i].vma))
			continue;
		if (mapped)
			advise_huge(s, &l->maps[i]);
		else
			r = map(s, &b, &l->maps[i], false, false, err);
	}
	backing_close(s, &b);
	return r < 0 ? r : 0;
}

static int map_plugins(struct stub *s, const struct layout *l, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < l->nmaps && r == 0; i++) {
		unsigned k = 0;
		if (!is_plugins(s, l->maps[i].vma))
			continue;
		while (l->maps[k].vma->object != l->maps[i].vma->object || !is_plugins(s, l->maps[k].vma))
			k++;
		if (k == i)
			r = map_object(s, l, i, err);
	}
	return r;
}

/* ---- the two parts ----------------------------------------------------------------- */

/* What the memory needs before the child of a step is cloned. */
int memory_step(struct stub *s, const struct layout *l, unsigned step, struct crcore_error *err)
{
	unsigned map_at = 0, fill_at = 0;

	for (unsigned k = 0; k < step; k++) {
		map_at += l->steps[k].nmaps;
		fill_at += l->steps[k].nfills;
	}
	struct layout_step t = l->steps[step];
	const struct fresh fresh = { l->stage + map_at, t.nmaps, false };
	int r = map_all(s, l->stage + map_at, t.nmaps, NULL, 0, err);
	return r < 0 ? r : fills_build(s, l->stage_fills + fill_at, t.nfills, &fresh, err);
}

static void arrange(struct stub *s, const struct layout *l)
{
	for (unsigned i = 0; i < l->nmoves; i++) {
		const struct layout_move *m = &l->moves[i];
		CALL(s->p, "move", SYS_mremap, EXPECT_EQUAL, (int64_t)m->to, IMM(m->from), IMM(m->len),
		     IMM(m->len), IMM(MREMAP_MAYMOVE | MREMAP_FIXED), IMM(m->to));
	}
	for (unsigned i = 0; i < l->ndrops; i++)
		CALL(s->p, "drop", SYS_munmap, EXPECT_EQUAL, 0, IMM(l->drops[i].start),
		     IMM(l->drops[i].end - l->drops[i].start));
}

static void advise_ranges(struct stub *s, const char *label, const struct layout_range *v,
                          unsigned n, int advice)
{
	for (unsigned i = 0; i < n; i++)
		CALL(s->p, label, SYS_madvise, EXPECT_EQUAL, 0, IMM(v[i].start),
		     IMM(v[i].end - v[i].start), IMM(advice));
}

/* Memory that became read-only stays charged only if it ever had a page of its own; it need not
 * have one any more, nor have it yet (lazy.c). */
static void touch_charged(struct stub *s, const struct layout *l)
{
	unsigned at = 0;

	for (unsigned i = 0; i < l->nmaps; i++) {
		const struct layout_map *m = &l->maps[i];
		if (m->vma->backing != CRCORE__BACKING__ANON || !is_charged(m->vma) ||
		    filled(l->fills, l->nfills, &at, m->start, m->end))
			continue;
		CALL(s->p, "touch", SYS_madvise, EXPECT_ANY, 0, IMM(m->start), IMM(PAGE),
		     IMM(MADV_POPULATE_WRITE));
		CALL(s->p, "drop pages", SYS_madvise, EXPECT_ANY, 0, IMM(m->start),
		     IMM(m->end - m->start), IMM(MADV_DONTNEED));
	}
}

int memory_build(struct stub *s, struct crcore_error *err)
{
	const struct layout *l = layout_of(s);

	if (!s->mm)
		return 0;
	if (!l)
		return crcore_fail(err, -EINVAL, "there is no layout for address space %u", s->mm->id);
	if (s->share[SHARE_MM].n)
		OP(s->p, "wait for those who share it", OP_WAIT, EXPECT_ANY, 0,
		   IMM(s->share[SHARE_MM].word), IMM(l->nsteps));
	if (s->mm->thp_disable != s->r->own->thp_disable) /* 1: it is off; what else is set are flags */
		CALL(s->p, "set huge page setting", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_THP_DISABLE),
		     IMM(s->mm->thp_disable != 0), IMM(s->mm->thp_disable & ~1U), IMM(0), IMM(0));
	if (!s->mm->memory_merge != !s->r->own->memory_merge)
		CALL(s->p, "set merge setting", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_MEMORY_MERGE),
		     IMM(s->mm->memory_merge), IMM(0), IMM(0), IMM(0));
	arrange(s, l);
	static const struct layout_fill none;
	const struct fresh fresh = { l->maps, l->nmaps, true };
	int r = map_all(s, l->maps, l->nmaps, l->fills ? l->fills : &none, l->nfills, err);
	if (r < 0 || (r = map_plugins(s, l, err)) < 0)
		return r;
	touch_charged(s, l);
	advise_ranges(s, "drop pages", l->zaps, l->nzaps, MADV_DONTNEED);
	if ((r = fills_build(s, l->fills, l->nfills, &fresh, err)) < 0)
		return r;
	lazy_build(s);
	advise_ranges(s, "guard", l->guards, l->nguards, MADV_GUARD_INSTALL);
	mappings_finish(s, l);
	specials_unpark(s);
	return mm_map_build(s, err);
}
