/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore.lazy: pages that are not read before the tree runs, but by a pager (core/pager) when a
 * task asks for them, and otherwise little by little.
 *
 * Left to the pager is private anonymous memory that no other address space has a part of, which
 * is most of it, and shared anonymous memory (lazy_segments.c); what is shared copy-on-write,
 * locked, on a stack or of hugetlb, and changed pages of files, is read at once as ever. Mappings
 * are given to the pager whole: one that is watched in part is two to the kernel, which mremap(2)
 * would not forgive.
 *
 * A userfaultfd belongs to the address space of whoever makes it, so the task does, with an
 * operation of its program where it would have read its pages; we fetch it, and the task closes
 * its own before it has any descriptor of the tree. From there on the pager answers, the rest of
 * the program included.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "core/restore/lazy_priv.h"
#include "core/restore/uffd.h"
#include "core/util/trace.h"

/* ---- what can wait -------------------------------------------------------------------- */

static bool is_fit(const Crcore__Vma *v)
{
	return v->backing == CRCORE__BACKING__ANON && !v->shared && !v->grows_down && !v->locked &&
	       !v->droppable && !v->sealed && !(v->advice & ~LAZY_HARMLESS);
}

/* The mapping that is made afresh at addr, or the next. Both lists ascend: *at goes on. */
static const struct layout_map *map_from(const struct layout *l, unsigned *at, uint64_t addr)
{
	while (*at < l->nmaps && l->maps[*at].end <= addr)
		++*at;
	return *at < l->nmaps ? &l->maps[*at] : NULL;
}

static bool add_fill(struct layout_fill **v, unsigned *n, const struct layout_fill *f,
                     uint64_t from, uint64_t to)
{
	if (!GROW(*v, *n))
		return false;
	(*v)[(*n)++] = (struct layout_fill){ from, (to - from) / PAGE,
		                                 f->file_offset + (from - f->addr) };
	return true;
}

/* Huge pages were asked for: where there is anything, one is to be in the end. */
static bool add_huge(struct lazy_mm *m, const Crcore__Vma *v, uint64_t from, uint64_t to)
{
	const uint64_t first = ALIGN_UP(v->start, PAGER_HUGE), end = v->end & ~(PAGER_HUGE - 1);

	if (!(v->advice & ADVICE(MADV_HUGEPAGE)))
		return true;
	from = from & ~(PAGER_HUGE - 1);
	to = ALIGN_UP(to, PAGER_HUGE);
	from = from > first ? from : first;
	to = to < end ? to : end;
	return from >= to || uffd_add_range(&m->huge, &m->nhuge, from, to);
}

/* Parts one fill; what is not the pager's goes to now. */
static bool part(struct lazy_mm *m, const struct layout *l, const struct layout_fill *f,
                 unsigned *at, struct layout_fill **now, unsigned *nnow)
{
	const uint64_t end = f->addr + f->pages * PAGE;
	bool ok = true;

	for (uint64_t a = f->addr, b; a < end && ok; a = b) {
		const struct layout_map *map = map_from(l, at, a);
		const bool inside = map && map->start <= a;
		b = !map ? end : inside ? map->end : map->start;
		b = b < end ? b : end;
		if (inside && is_fit(map->vma))
			ok = add_fill(&m->fills, &m->n, f, a, b) &&
			     uffd_add_range(&m->ranges, &m->nranges, map->vma->start, map->vma->end) &&
			     add_huge(m, map->vma, a, b);
		else
			ok = add_fill(now, nnow, f, a, b);
	}
	return ok;
}

static void lazy_mm_clear(struct lazy_mm *m)
{
	free(m->fills);
	free(m->ranges);
	free(m->mappings);
	free(m->huge);
	*m = (struct lazy_mm){ 0 };
}

static bool choose(struct lazy_mm *m, struct layout *l)
{
	struct layout_fill *now = NULL;
	unsigned n = 0, at = 0;
	uint64_t pages = 0;
	bool ok = true;

	for (unsigned i = 0; i < l->nfills && ok; i++)
		ok = part(m, l, &l->fills[i], &at, &now, &n);
	for (unsigned i = 0; i < m->n; i++)
		pages += m->fills[i].pages;
	if (!ok || pages * PAGE < LAZY_WORTH) {
		lazy_mm_clear(m);
		free(now);
		return ok;
	}
	free(l->fills);
	l->fills = now;
	l->nfills = n;
	return true;
}

int lazy_plan(struct restore *r, struct crcore_error *err)
{
	struct lazy *z = r->wants_lazy ? calloc(1, sizeof(*z)) : NULL;
	struct rlimit files = { .rlim_cur = 0 };
	unsigned n = 0;

	if (!r->wants_lazy)
		return 0;
	r->lazy = z;
	if (!z || !(z->v = calloc(r->layouts.n + 1, sizeof(*z->v))))
		return crcore_no_memory(err);
	getrlimit(RLIMIT_NOFILE, &files); /* the pager holds up to two descriptors for each */
	for (unsigned i = 0; i < r->layouts.n && n < files.rlim_cur / 3; i++) {
		if (!choose(&z->v[i], &r->layouts.v[i]))
			return crcore_no_memory(err);
		n += z->v[i].n > 0;
	}
	return r->layouts.n < files.rlim_cur / 3 ? lazy_segments_plan(r, err) : 0;
}

/* Before anything of the tree is made: the pager is to have nothing of it. */
int lazy_begin(struct restore *r, struct crcore_error *err)
{
	struct lazy *z = r->lazy;
	cleanup_free struct pager_space *v = z ? calloc(r->layouts.n + 1, sizeof(*v)) : NULL;
	cleanup_free struct pager_segment *s = z ? calloc(z->nsegments + 1, sizeof(*s)) : NULL;
	unsigned n = 0;

	if (!z)
		return 0;
	if (!v || !s)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->layouts.n; i++) {
		const struct lazy_mm *m = &z->v[i];
		v[i] = (struct pager_space){ m->fills, m->n, m->ranges, m->nranges, m->mappings,
			                               m->nmappings, m->huge, m->nhuge };
		n += m->nranges > 0;
	}
	for (unsigned i = 0; i < z->nsegments; i++)
		s[i] = (struct pager_segment){ z->segments[i].fills, z->segments[i].n,
			                               ALIGN_UP(z->segments[i].rec->size, PAGE) };
	const struct pager_setup setup = {
		.image = r->image, .pages = r->pages, .spaces = v, .n = r->layouts.n,
		.segments = s, .nsegments = z->nsegments,
		.verify = policy_core(r->cmd->policy, "restore.verify")->b,
		.detached = policy_core(r->cmd->policy, "restore.detached")->b ||
		            policy_core(r->cmd->policy, "restore.sibling")->b,
	};
	return n ? pager_start(&setup, &z->pager, err) : 0;
}

/* ---- in the programs ---------------------------------------------------------------------- */

static struct lazy_mm *lazy_of(const struct stub *s)
{
	const struct lazy *z = s->r->lazy;

	for (unsigned i = 0; z && i < s->r->layouts.n; i++)
		if (s->r->layouts.v[i].mm == s->mm->id && z->v[i].nranges)
			return &z->v[i];
	return NULL;
}

void lazy_build(struct stub *s)
{
	struct lazy_mm *m = lazy_of(s);
	struct lazy *z = s->r->lazy;

	if (!m)
		return;
	if (!z->word)
		z->word = arena_word(&s->r->arena);
	m->word = arena_word(&s->r->arena);
	m->stub = s;
	m->op = CALL(s->p, "watch memory", SYS_userfaultfd, EXPECT_OK, 0, IMM(O_CLOEXEC | O_NONBLOCK));
	OP(s->p, "tell that it is watched", OP_POST, EXPECT_ANY, 0, IMM(z->word), IMM(1));
	OP(s->p, "wait for the pager", OP_WAIT, EXPECT_ANY, 0, IMM(m->word), IMM(1));
	close_fd(s->p, m->op);
}

/* ---- while the programs run --------------------------------------------------------------- */

uint32_t *lazy_word(const struct restore *r)
{
	return r->lazy && r->lazy->word ? arena_local(&r->arena, r->lazy->word) : NULL;
}

/* The task waits meanwhile. */
static int take(struct restore *r, unsigned i, struct crcore_error *err)
{
	struct lazy_mm *m = &r->lazy->v[i];
	cleanup_close int pidfd = -1;
	cleanup_close int uffd = uffd_fetch(m->stub, m->op, &pidfd, err);

	if (uffd < 0)
		return uffd;
	int ret = pager_prepare(uffd, err);
	if (ret == 0 && (ret = uffd_watch(uffd, m->ranges, m->nranges, err)) < 0)
		crcore_advise(err, "restore it without --lazy");
	if (ret == 0)
		ret = pager_take(r->lazy->pager, i, uffd, pidfd, err);
	if (ret < 0) {
		const pid_t pid = r->births.v[m->stub->birth].pid;
		crcore_fail_at(err, pid, -1, "task %d", pid);
	}
	return ret;
}

int lazy_serve(struct restore *r, struct crcore_error *err)
{
	struct lazy *z = r->lazy;
	int ret = z && z->pager ? pager_check(z->pager, err) : 0;

	for (unsigned i = 0; ret == 0 && z && i < r->layouts.n; i++) {
		struct lazy_mm *m = &z->v[i];
		if (!m->stub || m->taken || prog_result(m->stub->p, m->op) < 0)
			continue;
		uint64_t start = trace_start();
		ret = take(r, i, err);
		m->taken = ret == 0;
		uint32_t *word = arena_local(&r->arena, m->word);
		__atomic_store_n(word, m->taken, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
		trace_end(start, (pid_t)m->stub->rec->pid, "task", "give memory to the pager");
	}
	return ret;
}

/* ---- the end ------------------------------------------------------------------------------ */

int lazy_keep(struct restore *r, struct crcore_error *err)
{
	cleanup_free pid_t *pids = calloc(r->births.n + 1, sizeof(*pids));
	unsigned n = 0;

	if (!r->lazy || !r->lazy->pager)
		return 0;
	if (!pids)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->births.n; i++)
		if (is_live(&r->stubs[i]))
			pids[n++] = r->births.v[i].pid;
	return pager_keep(r->lazy->pager, pids, n, err);
}

void lazy_end(struct restore *r)
{
	struct lazy *z = STEAL(r->lazy);

	if (!z)
		return;
	pager_end(z->pager);
	for (unsigned i = 0; z->v && i < r->layouts.n; i++)
		lazy_mm_clear(&z->v[i]);
	lazy_segments_end(z);
	free(z->v);
	free(z);
}
