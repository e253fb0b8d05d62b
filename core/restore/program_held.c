/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What plugins have a thread do last of all (emit_thread): what takes away its
 * right to do anything else. Such a thread is held until the worker traces every
 * thread of the tree, with filters of system calls suspended; then it does that,
 * gives up its privileges, and reports. Others do not wait for anything.
 *
 * In one process the leader comes first, so that it can do something to all its
 * threads before they do something of their own.
 */
#include "core/restore/restore.h"

static const struct crcore_task *task_of(const struct stub *s)
{
	return &s->r->tasks[s->r->births.v[s->birth].task];
}

/* Whether plugins have something for the leader, by writing it to nowhere. */
static int leader_has(struct stub *s, bool *ret, struct crcore_error *err)
{
	prog *p = prog_new();
	int r;

	if (!p)
		return crcore_no_memory(err);
	r = host_emit_thread(s->r->host, task_of(s), 0, p, err);
	*ret = prog_nops(p) > 0;
	prog_free(p);
	return r;
}

/* Is the leader held? The programs of the other threads are written by now. */
int held_look(struct stub *s, struct crcore_error *err)
{
	int r = leader_has(s, &s->held[0], err);

	for (size_t i = 1; r == 0 && i < s->rec->n_threads; i++)
		s->held[0] |= s->held[i];
	return r;
}

int held_build(struct stub *s, prog *p, unsigned thread, struct crcore_error *err)
{
	const uint32_t before = prog_nops(p);
	int r;

	OP(p, "wait until all are traced", OP_WAIT, EXPECT_ANY, 0,
	   IMM(thread ? s->held_word : s->r->resume_word), IMM(1));
	r = host_emit_thread(s->r->host, task_of(s), thread, p, err);
	if (r < 0)
		return r;
	if (thread && prog_nops(p) == before + 1) {
		prog_cut(p, before);
		return 0;
	}
	s->held[thread] = true;
	s->r->nheld++;
	if (!thread && s->held_word)
		OP(p, "let threads do their last", OP_POST, EXPECT_ANY, 0, IMM(s->held_word), IMM(1));
	return 0;
}

void held_end(struct stub *s, prog *p, unsigned thread)
{
	if (s->held[thread])
		OP(p, "report the end", OP_POST, EXPECT_ANY, 0, IMM(s->r->held_word), IMM(1));
}

/* Bytes that these operations may need: each thread all that the plugins have saved. */
uint64_t held_size(struct restore *r)
{
	uint64_t bytes = 0, threads = r->births.n;

	for (unsigned i = 0; i < r->rec.ntasks; i++)
		threads += r->rec.tasks[i]->n_threads;
	for (unsigned i = 0; r->host && i < r->host->nplugins; i++) {
		const struct crcore_plugin *p = &r->host->plugins[i]->p;
		size_t len = strlen(p->name);
		for (size_t k = 0; p->emit_thread && k < r->manifest->n_files; k++) {
			const Crcore__File *f = r->manifest->files[k];
			if (!strncmp(f->name, p->name, len) && f->name[len] == '.')
				bytes += f->length;
		}
	}
	return 2 * bytes * threads;
}
