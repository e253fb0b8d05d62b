/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving thread: waits for what the kernel and the worker say. Faults come first: the
 * piece around the page that is asked for is copied, and no more; that the rest comes is the
 * business of load.c.
 */
#include <poll.h>
#include <sys/syscall.h>
#include "core/pager/request.h"

enum { WORKER, WAKE, STANDBY, NFIXED }; /* in the list for poll(2), before the spaces */
#define AGAIN_MS 1

/* ---- faults -------------------------------------------------------------------------- */

static int postpone(struct state *p, const struct fault *f, struct crcore_error *err)
{
	if (!GROW(p->later, p->nlater))
		return crcore_no_memory(err);
	p->later[p->nlater++] = *f;
	return 0;
}

/* The piece around addr that is lacking and lies in one block; false: nothing is lacking. */
static bool piece_at(struct state *p, const struct space *s, uint64_t addr, struct span *ret)
{
	pthread_mutex_lock(&p->lock);
	const struct span *x = places_at(&s->view.lacks, addr);
	if (x)
		*ret = *x;
	pthread_mutex_unlock(&p->lock);
	if (!x)
		return false;
	const uint64_t offset = ret->val + (addr - ret->start);
	uint64_t start, chunk = addr & ~(uint64_t)(ORDER_CHUNK - 1);
	size_t len;
	pages_block(p->source.pages, offset, &start, &len);
	uint64_t low = offset - start < addr ? addr - (offset - start) : 0;
	uint64_t high = addr + (start + len - offset);
	low = low > chunk ? low : chunk;
	high = high < chunk + ORDER_CHUNK ? high : chunk + ORDER_CHUNK;
	if (low > ret->start) {
		ret->val += low - ret->start;
		ret->start = low;
	}
	ret->end = ret->end < high ? ret->end : high;
	return true;
}

/* What is lacking around addr. 1: it is there now; 0: nothing was. */
static int fill(struct state *p, struct space *s, uint64_t addr, struct crcore_error *err)
{
	struct span x;

	if (s->uffd < 0 || !piece_at(p, s, addr, &x))
		return 0;
	const size_t len = (size_t)(x.end - x.start);
	const uint8_t *bytes = source_read(&p->source, x.val, len, p->buf, err);
	if (!bytes)
		return err->code;
	order_note(&p->asked, x.val + (addr - x.start));
	int r = copy_pages(p, s, x.start, bytes, len);
	return r < 0 ? r : 1;
}

/* All of every segment. */
static int fill_segments(struct state *p, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = p->setup.n; i < p->setup.n + p->setup.nsegments && r >= 0; i++)
		do {
			pthread_mutex_lock(&p->lock);
			const struct span *x = p->v[i]->uffd >= 0 ? places_from(&p->v[i]->view.lacks, 0) : NULL;
			const uint64_t at = x ? x->start : 0;
			pthread_mutex_unlock(&p->lock);
			r = at ? fill(p, p->v[i], at, err) : 0;
		} while (r > 0);
	return r;
}

/* Where there is a page by then, it stays. */
static int find_page(struct state *p, struct space *s, uint64_t addr, struct crcore_error *err)
{
	struct space *owner;
	uint64_t there;
	int r = fill(p, s, addr, err);

	if (r)
		return r;
	int where = shared_find(p, s, addr, &owner, &there);
	if (where)
		r = where > 0 ? fill(p, owner, there, err) : fill_segments(p, err);
	return r < 0 ? r : copy_zeroes(s, addr);
}

static int answer(struct state *p, const struct fault *f, struct crcore_error *err)
{
	struct space *s = p->v[f->space];

	if (s->uffd < 0 || s->gone)
		return 0;
	int r = find_page(p, s, f->addr, err);
	if (r < 0 && err->code)
		return err->code;
	if (r == -EAGAIN || r == -ENOMEM)
		return postpone(p, f, err);
	if (r == -ESRCH)
		s->gone = true;
	else if (r < 0)
		return crcore_fail(err, r, "cannot put pages into the tree: %s", strerror(-r));
	return 0;
}

static int answer_postponed(struct state *p, struct crcore_error *err)
{
	unsigned n = p->nlater;
	struct fault *v = STEAL(p->later);
	int r = 0;

	p->nlater = 0;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = answer(p, &v[i], err);
	free(v);
	return r;
}

/* All that a space has to say. */
static int hear(struct state *p, unsigned space, struct crcore_error *err)
{
	struct fault v[NOTES_AT_ONCE];
	unsigned n;
	int r = 1;

	while (r > 0 && p->journal->n + NOTES_SPARE < NOTES && p->v[space]->uffd >= 0) {
		r = events_read(p, space, v, &n, err);
		for (unsigned i = 0; i < n && r >= 0; i++)
			r = answer(p, &v[i], err) < 0 ? -1 : 1;
	}
	return r < 0 ? err->code : 0;
}

/* ---- waiting ------------------------------------------------------------------------- */

static int wait_for_something(struct state *p, struct pollfd **v, struct crcore_error *err)
{
	struct pollfd *t = realloc(*v, (NFIXED + p->n) * sizeof(*t));

	if (!t)
		return crcore_no_memory(err);
	*v = t;
	t[WORKER] = (struct pollfd){ p->requests, POLLIN, 0 };
	t[WAKE] = (struct pollfd){ p->wake[0], POLLIN, 0 };
	t[STANDBY] = (struct pollfd){ p->standby, POLLIN, 0 };
	for (unsigned i = 0; i < p->n; i++)
		t[NFIXED + i] = (struct pollfd){ p->v[i]->segment ? -1 : p->v[i]->uffd, POLLIN, 0 };
	const int n = (int)(NFIXED + p->n);
	poll(t, (nfds_t)n, p->nlater || p->held ? AGAIN_MS : -1);
	return n;
}

/* n: of the list that poll(2) filled; there may be more spaces by the end of it. */
static int hear_all(struct state *p, const struct pollfd *v, int n, struct crcore_error *err)
{
	int r = 0;

	for (int i = NFIXED; i < n && r == 0; i++)
		if (v[i].revents)
			r = hear(p, (unsigned)(i - NFIXED), err);
	if (r == 0)
		r = events_settle(p, &p->held, err);
	return r == 0 && p->nlater ? answer_postponed(p, err) : r;
}

/* Nothing of it is lacking, and no child that it forked is waiting. */
static bool is_complete(struct state *p, const struct space *s)
{
	pthread_mutex_lock(&p->lock);
	bool ret = s->gone || (!s->view.lacks.bytes && !(s->view.shared.n && shared_lacking(p)));
	pthread_mutex_unlock(&p->lock);
	return ret && (s->segment || (!s->nheld && is_quiet(p, s)));
}

static unsigned close_those(struct state *p, bool segments, bool all)
{
	unsigned left = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct space *s = p->v[i];
		if (s->uffd < 0 || (s->segment != NULL) != segments)
			continue;
		if ((all || is_complete(p, s)) && p->journal->n + NOTES_SPARE < NOTES)
			space_close(p, i);
		else
			left++;
	}
	return left;
}

static unsigned count_huge(struct state *p)
{
	unsigned n = 0;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->setup.n; i++)
		n += p->v[i]->huge.bytes > 0;
	pthread_mutex_unlock(&p->lock);
	return n;
}

/* Closes those that lack nothing; returns how much there is left to do. */
static unsigned close_complete(struct state *p)
{
	unsigned segments = close_those(p, true, false), programs = close_those(p, false, false);

	if (!programs && segments) /* nobody maps them any more */
		segments = close_those(p, true, true);
	return segments + programs + count_huge(p);
}

/* ---- the tree runs --------------------------------------------------------------------- */

/* 1: there is more to hear; 0: nobody stands by, or the journal is full. */
static int serve_once(struct state *p, struct pollfd **v, struct crcore_error *err)
{
	char ignored[64];
	int n = wait_for_something(p, v, err);

	if (n < 0)
		return n;
	if ((*v)[STANDBY].revents || p->journal->n + NOTES_SPARE >= NOTES)
		return 0;
	if ((*v)[WAKE].revents)
		(void)!read(p->wake[0], ignored, sizeof(ignored));
	int r = hear_all(p, *v, n, err);
	if (r == 0 && failed(p)) {
		*err = p->failure;
		r = err->code;
	}
	return r < 0 ? r : 1;
}

int serve_tree(struct state *p, struct crcore_error *err)
{
	struct pollfd *v = NULL;
	struct loader *loader;
	unsigned left;
	int r = loader_start(p, &loader, err);

	if (r < 0)
		return r;
	do
		left = close_complete(p);
	while (left && (r = serve_once(p, &v, err)) > 0);
	loader_stop(loader);
	free(v);
	return r < 0 ? r : !left;
}

/* ---- while it is built ------------------------------------------------------------------ */

static int take(struct state *p, const struct request *q, struct crcore_error *err)
{
	int fd = q->space < p->setup.n ? (int)syscall(SYS_pidfd_getfd, p->worker, q->fd, 0) : -1;

	if (fd < 0)
		return crcore_fail(err, -errno, "the pager cannot fetch a descriptor: %s", strerror(errno));
	p->v[q->space]->uffd = fd;
	if (!p->v[q->space]->huge.bytes)
		return 0;
	p->v[q->space]->pidfd = (int)syscall(SYS_pidfd_getfd, p->worker, q->pidfd, 0);
	if (p->v[q->space]->pidfd < 0)
		return crcore_fail(err, -errno, "the pager cannot fetch a descriptor: %s", strerror(errno));
	return 0;
}

static int take_segment(struct state *p, const struct request *q, struct crcore_error *err)
{
	int fd = q->space < p->setup.nsegments ? (int)syscall(SYS_pidfd_getfd, p->worker, q->fd, 0) :
	                                         -1;

	if (fd < 0)
		return crcore_fail(err, -errno, "the pager cannot fetch a descriptor: %s", strerror(errno));
	return shared_take(p, q->space, fd, err);
}

static int keep(struct state *p, const struct request *q, struct crcore_error *err)
{
	p->victims = calloc(q->n + 1, sizeof(*p->victims));
	if (!p->victims)
		return crcore_no_memory(err);
	for (; p->nvictims < q->n; p->nvictims++)
		if (request_read(p->requests, &p->victims[p->nvictims].pid, sizeof(pid_t)) <= 0)
			_exit(1);
	note_victims(p);
	order_read(&p->order, image_folder(p->setup.image), image_manifest(p->setup.image)->checksum);
	return standby_begin(p, err);
}

/* 1: the tree is kept. Ends the process where the worker has ended. */
static int heed(struct state *p, struct crcore_error *err)
{
	struct request q;

	if (request_read(p->requests, &q, sizeof(q)) <= 0)
		_exit(0);
	int r = q.kind == REQUEST_TAKE ? take(p, &q, err) :
	        q.kind == REQUEST_SEGMENT ? take_segment(p, &q, err) : keep(p, &q, err);
	const struct reply reply = { .result = r, .err = *err };
	if (write(p->replies, &reply, sizeof(reply)) != (ssize_t)sizeof(reply))
		_exit(1);
	return r < 0 ? r : q.kind == REQUEST_KEEP;
}

int serve_worker(struct state *p, struct crcore_error *err)
{
	struct pollfd *v = NULL;
	int r = 0;

	while (r == 0) {
		p->journal->n = p->applied = 0; /* nobody stands by yet who would read it */
		int n = wait_for_something(p, &v, err);
		r = n < 0 ? n : hear_all(p, v, n, err);
		if (r == 0 && v[WORKER].revents)
			r = heed(p, err);
	}
	free(v);
	return r < 0 ? r : 0;
}
