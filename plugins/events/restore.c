/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: each record goes to its kind. Records are untrusted: what a kind does with
 * them in create, emit and settle relies on what its check has seen. */
#include "events.h"

int events_load_record(void *state, const char *section, uint32_t version, const void *msg,
                       size_t len, struct crcore_error *err)
{
	Events__Event *rec = events__event__unpack(NULL, len, msg);
	struct events *e = state;
	unsigned found = 0;

	if (!rec)
		return crcore_fail(err, -EBADMSG, "a record of section %s is damaged", section);
	if (!GROW(e->made, e->nmade)) {
		events__event__free_unpacked(rec, NULL);
		return crcore_no_memory(err);
	}
	e->made[e->nmade] = (struct made){ .rec = rec };
	for (unsigned i = 0; event_kinds[i]; i++) {
		if (event_kinds[i]->is && event_kinds[i]->is(rec)) {
			e->made[e->nmade].kind = event_kinds[i];
			found++;
		}
	}
	e->nmade++;
	if (!rec->id || found != 1)
		return crcore_fail(err, -EBADMSG, "a record of section %s makes no sense", section);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct made *x = a, *y = b;

	return (x->rec->id > y->rec->id) - (x->rec->id < y->rec->id);
}

int events_check(void *state, struct crcore_error *err)
{
	struct events *e = state;
	int r = 0;

	if (e->nmade)
		qsort(e->made, e->nmade, sizeof(*e->made), by_id);
	for (unsigned i = 0; !r && i < e->nmade; i++) {
		const struct made *m = &e->made[i];
		if (i && m[-1].rec->id == m->rec->id)
			r = crcore_fail(err, -EBADMSG, "two records are of one object");
		else if (m->kind->check)
			r = m->kind->check(e, m->rec, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "%s", m->kind->title);
	}
	return r;
}

int events_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct events *e = state;
	Events__Event rec = { .id = id };
	struct made key = { .rec = &rec }, *m;
	int fd;

	m = e->nmade ? bsearch(&key, e->made, e->nmade, sizeof(key), by_id) : NULL;
	if (!m)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
	fd = m->kind->create(e, m->rec, err);
	if (fd < 0)
		crcore_fail_at(err, -1, -1, "%s", m->kind->title);
	return fd;
}

int events_emit(void *state, const struct crcore_task *task, uint32_t phase,
                struct crcore_program *program, struct crcore_error *err)
{
	struct events *e = state;
	int r = 0;

	if (phase != CRCORE_PHASE_LATE)
		return 0;
	for (unsigned k = 0; event_kinds[k]; k++)
		for (unsigned i = 0; event_kinds[k]->emit && !r && i < e->nmade; i++)
			if (e->made[i].kind == event_kinds[k])
				r = event_kinds[k]->emit(e, e->made[i].rec, task, program, err);
	return r;
}

int events_settle(void *state, struct crcore_error *err)
{
	struct events *e = state;
	int r = 0;

	for (unsigned i = 0; !r && i < e->nmade; i++) {
		const struct made *m = &e->made[i];
		int fd = -1;
		if (!m->kind->settle)
			continue;
		fd = e->host->need(e->ctx, m->rec->id, err);
		r = fd < 0 ? fd : m->kind->settle(e, m->rec, fd, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "%s", m->kind->title);
	}
	return r;
}
