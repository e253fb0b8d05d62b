/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following what a program does with its memory, from what the kernel tells of it.
 *
 * The kernel tells of a change when it has let go of the address space already, and the thread
 * waits then until we have read it. So a change may be told late: memory was moved away, another
 * thread has moved other memory to that place, and this is told first. A late one shows: where
 * something was moved to there is still watched memory, as far as we know. The change is held
 * then, until the one arrives that explains it. That one is known by its address, so it must not
 * be mistaken for a change that the other thread made next: no other can have been made as long
 * as that thread waits, which it does until the last thing it has to say was read. We give the
 * late one time to come (events.c), and read all that there is in one call; if it then was not
 * among it, what is where cannot be told.
 *
 * A forked child has what was there at the moment of the fork: what is told later may have been
 * done earlier. The kernel says of the child which addresses are watched in it; until nothing can
 * come late the child waits for its pages.
 */
#include <sys/ioctl.h>
#include "core/pager/priv.h"

#define FORK_WAITS 20000000 /* ns */

static int cannot_tell(struct crcore_error *err)
{
	return crcore_fail(err, -ENOTRECOVERABLE, "its threads moved memory to the same place at the "
	                   "same moment, and what is where cannot be told");
}

/* ---- one change to one view ------------------------------------------------------------ */

static bool has_any(const struct places *p, uint64_t start, uint64_t end)
{
	const struct span *s = places_from(p, start);

	return s && s->start < end;
}

static bool change(struct view *w, const struct change *c)
{
	switch (c->kind) {
	case UFFD_EVENT_REMAP:
		return places_move(&w->lacks, c->start, c->to, c->end - c->start) &&
		       places_move(&w->shared, c->start, c->to, c->end - c->start) &&
		       places_move(&w->watched, c->start, c->to, c->end - c->start);
	case UFFD_EVENT_UNMAP:
		return places_cut(&w->lacks, c->start, c->end) &&
		       places_cut(&w->shared, c->start, c->end) &&
		       places_cut(&w->watched, c->start, c->end);
	case UFFD_EVENT_REMOVE:
		return places_cut(&w->lacks, c->start, c->end);
	default:
		return true;
	}
}

/* ---- children ----------------------------------------------------------------------------- */

/* In a child: 1: watched memory, 0: none; -EAGAIN: it has changed since; -ESRCH: it is gone. */
static int look(const struct state *p, int uffd, uint64_t addr)
{
	struct uffdio_copy c = { .dst = addr, .src = (uintptr_t)p->nowhere, .len = PAGE };

	if (ioctl(uffd, UFFDIO_COPY, &c) == 0 || (errno != ENOENT && errno != EAGAIN && errno != ESRCH))
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

/* Was it done before that child was forked, although it is told after? */
static int is_older(const struct state *p, const struct change *fork, const struct change *c)
{
	if (c->kind != UFFD_EVENT_REMAP && c->kind != UFFD_EVENT_UNMAP)
		return 0;
	const uint64_t at = c->kind == UFFD_EVENT_REMAP ? c->to : c->start;
	int there = look(p, fork->child, at);
	if (there == -ESRCH)
		return 0;
	if (there < 0)
		return there;
	const bool known = places_at(&fork->view->watched, at);
	return c->kind == UFFD_EVENT_REMAP ? there && !known : !there && known;
}

/* The note keeps it: whoever goes on in our place cannot ask a child that has run since. */
static int find_older(const struct state *p, const struct space *s, const struct change *c,
                      struct crcore_error *err)
{
	unsigned bit = 1, found = OLDER_KNOWN;

	for (unsigned i = 0; i < s->nheld && bit != OLDER_KNOWN; i++) {
		if (s->held[i].kind != UFFD_EVENT_FORK)
			continue;
		int older = is_older(p, &s->held[i], c);
		if (older < 0)
			return cannot_tell(err);
		found |= older ? bit : 0;
		bit <<= 1;
	}
	__atomic_store_n(&c->note->older, found, __ATOMIC_RELEASE);
	return 0;
}

/* To the space, and to the children that had it when they were forked. */
static int commit(struct state *p, struct space *s, const struct change *c,
                  struct crcore_error *err)
{
	unsigned bit = 1;

	if (!(c->note->older & OLDER_KNOWN) && find_older(p, s, c, err) < 0)
		return err->code;
	for (unsigned i = 0; i < s->nheld; i++) {
		if (s->held[i].kind != UFFD_EVENT_FORK)
			continue;
		if ((c->note->older & bit & ~OLDER_KNOWN) && !change(s->held[i].view, c))
			return crcore_no_memory(err);
		bit <<= 1;
	}
	return change(&s->view, c) ? 0 : crcore_no_memory(err);
}

static int let_child_go(struct state *p, struct change *fork, struct crcore_error *err)
{
	struct space *child = space_add(p, fork->child);

	if (!child)
		return crcore_no_memory(err);
	child->view = *fork->view;
	free(STEAL(fork->view));
	return 0;
}

static int hold(struct space *s, const struct change *c, struct crcore_error *err)
{
	if (!GROW(s->held, s->nheld))
		return crcore_no_memory(err);
	s->held[s->nheld++] = *c;
	return 0;
}

static void drop(struct space *s, unsigned i)
{
	memmove(&s->held[i], &s->held[i + 1], (--s->nheld - i) * sizeof(*s->held));
}

static int hold_child(struct space *s, struct change *c, struct crcore_error *err)
{
	c->view = calloc(1, sizeof(*c->view));
	c->since = now_ns();
	if (!c->view || !places_copy(&s->view.lacks, &c->view->lacks) ||
	    !places_copy(&s->view.shared, &c->view->shared) ||
	    !places_copy(&s->view.watched, &c->view->watched))
		return crcore_no_memory(err);
	return hold(s, c, err);
}

/* ---- what is held --------------------------------------------------------------------------- */

static bool can_be(const struct space *s, const struct change *c)
{
	return c->kind != UFFD_EVENT_REMAP ||
	       !has_any(&s->view.watched, c->to, c->to + (c->end - c->start));
}

static bool overlap(const struct change *c, uint64_t start, uint64_t end)
{
	return c->start < end && start < c->end;
}

/* Is that of memory to whose place other memory was moved in the meantime? 1: of that memory, as
 * was to be expected. -: it may be of the other. */
static int explains(const struct space *s, const struct change *c, struct crcore_error *err)
{
	for (unsigned i = 0; i < s->nheld; i++) {
		const struct change *h = &s->held[i];
		if (h->kind != UFFD_EVENT_REMAP || !overlap(c, h->to, h->to + (h->end - h->start)))
			continue;
		if (h->told && h->told < c->batch)
			return cannot_tell(err);
	}
	return 0;
}

/* What was moved is unmapped where it was, and that is told by itself. */
static bool is_companion(struct space *s, const struct change *c)
{
	for (unsigned i = 0; i < s->nmoves; i++) {
		struct change *m = &s->moves[i];
		if (c->kind != UFFD_EVENT_UNMAP || m->start != c->start || m->end != c->end)
			continue;
		for (unsigned k = 0; k < s->nheld; k++)
			if (s->held[k].kind == UFFD_EVENT_REMAP && s->held[k].number == m->number)
				s->held[k].told = c->batch;
		memmove(m, m + 1, (--s->nmoves - i) * sizeof(*m));
		return true;
	}
	return false;
}

/* Those that are explained by now, in the order in which they came. */
static int apply_held(struct state *p, struct space *s, bool all, struct crcore_error *err)
{
	bool again = true;
	int r = 0;

	while (again && r == 0) {
		again = false;
		for (unsigned i = 0; i < s->nheld && !again && r == 0; i++) {
			struct change c = s->held[i];
			if (c.kind == UFFD_EVENT_FORK || (!all && !can_be(s, &c)))
				continue;
			drop(s, i);
			r = commit(p, s, &c, err);
			again = true;
		}
	}
	return r;
}

int changes_add(struct state *p, struct space *s, struct note *note, struct crcore_error *err)
{
	const struct uffd_msg *m = &note->msg;
	struct change c = { .kind = m->event, .batch = note->batch, .number = ++s->nchanges,
		            .note = note, .child = -1 };

	if (m->event == UFFD_EVENT_FORK) {
		c.child = (int)m->arg.fork.ufd;
		return hold_child(s, &c, err);
	}
	const bool move = m->event == UFFD_EVENT_REMAP;
	c.start = move ? m->arg.remap.from : m->arg.remove.start;
	c.end = move ? c.start + m->arg.remap.len : m->arg.remove.end;
	c.to = move ? m->arg.remap.to : 0;
	if (is_companion(s, &c))
		return 0;
	if (move) {
		if (!GROW(s->moves, s->nmoves))
			return crcore_no_memory(err);
		s->moves[s->nmoves++] = c;
	}
	int r = explains(s, &c, err);
	if (r < 0)
		return r;
	if (!can_be(s, &c))
		return hold(s, &c, err);
	r = commit(p, s, &c, err);
	return r < 0 ? r : apply_held(p, s, false, err);
}

bool changes_held(const struct space *s, bool *ret_time)
{
	*ret_time = false;
	for (unsigned i = 0; i < s->nheld; i++)
		*ret_time |= s->held[i].kind == UFFD_EVENT_FORK && now_ns() - s->held[i].since > FORK_WAITS;
	return s->nheld > 0;
}

int changes_settle(struct state *p, struct space *s, bool quiet, struct crcore_error *err)
{
	int r = quiet ? apply_held(p, s, true, err) : 0;

	for (unsigned i = 0; i < s->nheld && r == 0;) {
		if (s->held[i].kind != UFFD_EVENT_FORK) {
			i++;
			continue;
		}
		r = let_child_go(p, &s->held[i], err);
		drop(s, i);
	}
	if (quiet)
		s->nmoves = 0; /* where nothing was told of the old place, it is still mapped */
	return r;
}

void changes_free(struct space *s)
{
	places_free(&s->view.lacks);
	places_free(&s->view.watched);
	places_free(&s->view.shared);
	free(STEAL(s->held));
	free(STEAL(s->moves));
	s->nheld = s->nmoves = 0;
}
