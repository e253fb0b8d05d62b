/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All task programs: who builds what of the things that tasks share, the words
 * they meet at, then the programs themselves, those of later births first: an
 * operation that clones needs the address of the new task's program.
 */
#include "core/restore/restore.h"
#include "core/util/trace.h"

/* ---- what is shared ------------------------------------------------------------------- */

static uint32_t share_id(const Crcore__Task *t, enum share what)
{
	switch (what) {
	case SHARE_MM: return t->mm;
	case SHARE_SIGHAND: return t->sighand;
	default: return t->files;
	}
}

/* Whoever is born with its creator's is a sharer of the creator's owner. */
static void find_owner(struct restore *r, struct stub *s, enum share what)
{
	static const uint64_t flags[NSHARES] = { 0x100 /* CLONE_VM */, 0x400, 0x400, 0x800 };
	const struct birth *b = &r->births.v[s->birth];

	s->owner[what] = s;
	if (!(b->share & flags[what]) || !share_id(s->rec, what))
		return;
	s->owner[what] = r->stubs[b->creator].owner[what];
	s->owner[what]->share[what].n++;
	r->files_shared |= what == SHARE_FILES;
}

void share_ready(struct stub *s, enum share what)
{
	if (s->owner[what] != s)
		OP(s->p, "tell who shares it", OP_POST, EXPECT_ANY, 0,
		   IMM(s->owner[what]->share[what].word), IMM(1));
}

void share_wait(struct stub *s, enum share what)
{
	if (s->share[what].n)
		OP(s->p, "wait for those who share it", OP_WAIT, EXPECT_ANY, 0, IMM(s->share[what].word),
		   IMM(s->share[what].n));
}

/* ---- stubs ---------------------------------------------------------------------------- */

static bool has_pending(const Crcore__Task *t)
{
	bool some = t->n_pending;

	for (size_t i = 0; i < t->n_threads; i++)
		some |= t->threads[i]->n_pending > 0;
	return some;
}

static int stub_init(struct restore *r, struct stub *s, unsigned birth, struct crcore_error *err)
{
	const struct birth *b = &r->births.v[birth];

	*s = (struct stub){ .r = r, .birth = birth, .spawn_op = UINT32_MAX };
	s->p = prog_new();
	if (!s->p)
		return crcore_no_memory(err);
	if (b->task < 0)
		return 0;
	s->rec = r->rec.tasks[b->task];
	for (enum share i = 0; i < NSHARES; i++)
		find_owner(r, s, i);
	if (b->zombie)
		return 0;
	size_t n = s->rec->n_threads;
	s->threads = calloc(n, sizeof(*s->threads));
	s->threads_at = calloc(n, sizeof(*s->threads_at));
	s->resume_op = calloc(n, sizeof(*s->resume_op));
	s->held = calloc(n, sizeof(*s->held));
	if (!s->threads || !s->threads_at || !s->resume_op || !s->held)
		return crcore_no_memory(err);
	for (size_t i = 0; i < n; i++)
		s->resume_op[i] = UINT32_MAX;
	for (size_t i = 1; i < n; i++)
		if (!(s->threads[i - 1] = prog_new()))
			return crcore_no_memory(err);
	s->mm = s->owner[SHARE_MM] == s ? core_mm(&r->rec, s->rec->mm) : NULL;
	s->files = s->owner[SHARE_FILES] == s ? core_files(&r->rec, s->rec->files) : NULL;
	s->sighand = s->owner[SHARE_SIGHAND] == s ? core_sighand(&r->rec, s->rec->sighand) : NULL;
	s->fs = b->share & 0x200 /* CLONE_FS */ ? NULL : core_fs(&r->rec, s->rec->fs);
	return 0;
}

/* Who clones whom, and who was whose child: programs are for one process each, and must not look
 * through all for those that concern it. */
static int relate(struct restore *r, struct crcore_error *err)
{
	r->round_helpers = calloc(r->births.nrounds + 1, sizeof(*r->round_helpers));
	r->layout_at = calloc(r->rec.nmms + 1, sizeof(*r->layout_at));
	if (!r->round_helpers || !r->layout_at)
		return crcore_no_memory(err);
	for (unsigned i = r->births.n; i-- > 0;) {
		const struct birth *b = &r->births.v[i];
		struct stub *s = &r->stubs[i];
		if (b->creator >= 0) {
			s->next_born = r->stubs[b->creator].first_born;
			r->stubs[b->creator].first_born = i;
		}
		if (b->task < 0 && b->round >= 0)
			r->round_helpers[b->round]++;
		unsigned parent = s->rec ? core_task_index(&r->rec, s->rec->ppid) : r->rec.ntasks;
		if (parent == r->rec.ntasks)
			continue;
		struct stub *p = &r->stubs[r->births.of_task[parent]];
		s->next_child = p->first_child;
		p->first_child = i;
	}
	for (unsigned i = 0; i < r->layouts.n; i++)
		r->layout_at[core_mm_index(&r->rec, r->layouts.v[i].mm)] = &r->layouts.v[i];
	return 0;
}

static void count_reporters(struct restore *r)
{
	for (unsigned i = 0; i < r->births.n; i++) {
		const struct birth *b = &r->births.v[i];
		if (b->up < 0)
			continue;
		struct stub *up = &r->stubs[b->up];
		up->reporters[0]++;
		up->reporters[1] += b->task >= 0;
		up->reporters[2] += b->task >= 0 && !b->zombie;
	}
}

/* ---- words ---------------------------------------------------------------------------- */

static void stub_words(struct restore *r, struct stub *s)
{
	struct arena *a = &r->arena;

	if (s->reporters[0])
		s->arrivals = arena_word(a);
	for (enum share i = 0; i < NSHARES; i++)
		if (s->share[i].n)
			s->share[i].word = arena_word(a);
	if (!s->rec)
		return;
	if (s->rec->n_threads > 1) {
		s->threads_word = arena_word(a);
		s->held_word = arena_word(a);
	}
	if (s->rec->state == CRCORE__TASK_STATE__STOPPED)
		s->stop_word = arena_word(a);
	if (has_pending(s->rec) && !s->owner[SHARE_SIGHAND]->actions_word)
		s->owner[SHARE_SIGHAND]->actions_word = arena_word(a);
}

static int words(struct restore *r, struct crcore_error *err)
{
	struct arena *a = &r->arena;
	unsigned n = r->births.nrounds;

	for (enum barrier b = 0; b < NBARRIERS; b++)
		r->go[b] = arena_word(a);
	r->round_word = arena_word(a);
	r->resume_word = arena_word(a);
	r->held_word = arena_word(a);
	r->round_ready = calloc(n ? n : 1, sizeof(*r->round_ready));
	r->round_done = calloc(n ? n : 1, sizeof(*r->round_done));
	if (!r->round_ready || !r->round_done)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < n; i++) {
		r->round_ready[i] = arena_word(a);
		r->round_done[i] = arena_word(a);
	}
	for (unsigned i = 0; i < r->births.n; i++)
		stub_words(r, &r->stubs[i]);
	return 0;
}

/* ---- all -------------------------------------------------------------------------------- */

unsigned free_descriptors(const struct restore *r, unsigned n)
{
	unsigned at = 0;
	bool again = true;

	while (again) {
		again = false;
		for (unsigned i = 0; i < r->rec.nfiles; i++)
			for (size_t k = 0; k < r->rec.files[i]->n_fds; k++) {
				uint32_t fd = r->rec.files[i]->fds[k]->fd;
				if (fd >= at && fd < at + n) {
					at = fd + 1;
					again = true;
				}
			}
	}
	return at;
}

/* Numbers for messages: region.failed names a program by it. */
static void number(struct restore *r)
{
	uint32_t id = 0;

	for (unsigned i = 0; i < r->births.n; i++) {
		struct stub *s = &r->stubs[i];
		prog_local(s->p)->id = id++;
		for (size_t k = 1; s->threads && k < s->rec->n_threads; k++)
			prog_local(s->threads[k - 1])->id = id++;
	}
}

/* One timer stands over the hooks of all. */
static int build_all(struct restore *r, struct crcore_error *err)
{
	int ret = host_series_start(r->host, err);

	if (ret < 0)
		return ret;
	for (int i = (int)r->births.n - 1; i >= 0 && ret == 0; i--) {
		struct stub *s = &r->stubs[i];
		uint64_t start = trace_start();
		for (unsigned k = 1; s->threads && k < s->rec->n_threads && ret == 0; k++)
			ret = thread_build(s, k, err);
		if (ret == 0)
			ret = process_build(s, err);
		if (!s->rec)
			continue;
		if (ret < 0)
			crcore_fail_at(err, (pid_t)s->rec->pid, -1, "program of task %u", s->rec->pid);
		if (s->rec->n_threads)
			trace_task((pid_t)s->rec->pid, s->rec->threads[0]->comm);
		trace_end(start, (pid_t)s->rec->pid, "task", "write program");
	}
	host_series_stop(r->host);
	if (ret == 0)
		number(r);
	return ret;
}

int programs_build(struct restore *r, struct crcore_error *err)
{
	int ret = 0;

	r->stubs = calloc(r->births.n, sizeof(*r->stubs));
	if (!r->stubs)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->births.n && ret == 0; i++)
		ret = stub_init(r, &r->stubs[i], i, err);
	if (ret < 0 || (ret = relate(r, err)) < 0)
		return ret;
	r->coordinator_fd = (int)free_descriptors(r, kept_fds(r, r->nbanks, r->files_shared));
	count_reporters(r);
	ret = words(r, err);
	if (ret == 0)
		ret = owners_find(r, err);
	return ret < 0 ? ret : build_all(r, err);
}
