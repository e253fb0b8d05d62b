/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records are read and checked before anything exists. */
#include "ttys.h"

/* Appends p to the array at v; -ENOMEM: p is still the caller's. */
#define APPEND(v, n, p) ({ \
	void *more_ = realloc((v), ((n) + 1) * sizeof(*(v))); \
	if (more_) { \
		(v) = more_; \
		(v)[(n)++] = (p); \
	} \
	more_ ? 0 : -ENOMEM; })

static int load_terminal(struct ttys *t, const void *msg, size_t len, struct crcore_error *err)
{
	struct made *m = calloc(1, sizeof(*m));

	if (!m || APPEND(t->made, t->nmade, m) < 0) {
		free(m);
		return crcore_no_memory(err);
	}
	m->master = m->slave = m->device = -1;
	m->rec = ttys__terminal__unpack(NULL, len, msg);
	if (!m->rec)
		return crcore_fail(err, -EBADMSG, "a record of section terminal is damaged");
	if (ttys_made(t, m->rec->key) != m)
		return crcore_fail(err, -EBADMSG, "two records are of one terminal");
	m->number = m->rec->number;
	if (!m->rec->key || m->rec->number > 1u << 20 || (m->rec->external && m->rec->hung_up) ||
	    (*m->rec->path && (m->rec->path[0] != '/' || strlen(m->rec->path) >= PATH_MAX ||
	                       m->rec->external || m->rec->hung_up)) ||
	    (m->rec->fixed.len && m->rec->fixed.len != sizeof(struct termios)) ||
	    (!m->rec->hung_up && (m->rec->termios.len != sizeof(struct termios2) ||
	                          m->rec->winsize.len != sizeof(struct winsize))))
		return crcore_fail(err, -EBADMSG, "a record of section terminal makes no sense");
	return 0;
}

static int load_end(struct ttys *t, const void *msg, size_t len, struct crcore_error *err)
{
	Ttys__End *e = ttys__end__unpack(NULL, len, msg);

	if (!e)
		return crcore_fail(err, -EBADMSG, "a record of section end is damaged");
	if (APPEND(t->ends, t->nends, e) < 0) {
		ttys__end__free_unpacked(e, NULL);
		return crcore_no_memory(err);
	}
	if (!e->id || e->side < TTYS__SIDE__MASTER || e->side > TTYS__SIDE__CONTROLLING ||
	    e->path[0] != '/' || strlen(e->path) >= PATH_MAX ||
	    e->flags & (O_CREAT | O_TRUNC | O_EXCL | O_PATH))
		return crcore_fail(err, -EBADMSG, "a record of section end makes no sense");
	return 0;
}

static int load_session(struct ttys *t, const void *msg, size_t len, struct crcore_error *err)
{
	Ttys__Session *s = ttys__session__unpack(NULL, len, msg);

	if (!s)
		return crcore_fail(err, -EBADMSG, "a record of section session is damaged");
	if (APPEND(t->sessions, t->nsessions, s) < 0) {
		ttys__session__free_unpacked(s, NULL);
		return crcore_no_memory(err);
	}
	return 0;
}

int ttys_load_record(void *state, const char *section, uint32_t version, const void *msg,
                     size_t len, struct crcore_error *err)
{
	if (!strcmp(section, "terminal"))
		return load_terminal(state, msg, len, err);
	if (!strcmp(section, "end"))
		return load_end(state, msg, len, err);
	if (!strcmp(section, "session"))
		return load_session(state, msg, len, err);
	return crcore_fail(err, -EBADMSG, "there is no section %s", section);
}

struct made *ttys_made(const struct ttys *t, uint32_t key)
{
	for (unsigned i = 0; i < t->nmade; i++)
		if (t->made[i]->rec && t->made[i]->rec->key == key)
			return t->made[i];
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	const Ttys__End *x = *(Ttys__End *const *)a, *y = *(Ttys__End *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

const Ttys__End *ttys_end(const struct ttys *t, uint32_t id)
{
	Ttys__End key = { .id = id }, *k = &key, **hit;

	hit = t->nends ? bsearch(&k, t->ends, t->nends, sizeof(*t->ends), by_id) : NULL;
	return hit ? *hit : NULL;
}

static int check_terminal(const struct ttys *t, const struct made *m, struct crcore_error *err)
{
	const Ttys__Terminal *rec = m->rec;
	char path[40];

	if (rec->hung_up)
		return 0;
	snprintf(path, sizeof(path), "/dev/pts/%u", rec->number);
	if (rec->external) {
		if (ttys_own_terminal() >= 0)
			return 0;
		crcore_fail_at(err, -1, -1, "terminal %u:%u", major(rec->dev), minor(rec->dev));
		crcore_advise(err, "run crcore restore on a terminal");
		return crcore_fail(err, -ENOTTY, "the tree ran on a terminal, and crcore has none to give "
		                   "it");
	}
	if (*rec->path)
		return console_check(t, rec, err);
	if (!m->master_id)
		return crcore_fail(err, -EBADMSG, "a pseudo-terminal has no master in the image");
	if (access(path, F_OK) < 0 || t->renumber)
		return 0;
	crcore_fail_at(err, -1, -1, "%s", path);
	crcore_advise(err, "end what uses it (fuser %s), or set renumber of the plugin ttys", path);
	return crcore_fail(err, -EEXIST, "the number of this pseudo-terminal is taken");
}

static int check_end(struct ttys *t, unsigned i, struct crcore_error *err)
{
	const Ttys__End *e = t->ends[i];
	struct made *m = ttys_made(t, e->terminal);

	if (!m || (i && t->ends[i - 1]->id == e->id))
		return crcore_fail(err, -EBADMSG, "a record of a terminal is missing");
	if (e->side != TTYS__SIDE__MASTER)
		return 0;
	if (m->master_id || m->rec->external || m->rec->hung_up || *m->rec->path)
		return crcore_fail(err, -EBADMSG, "the records of a pseudo-terminal contradict each other");
	m->master_id = e->id;
	t->masters++;
	return 0;
}

int ttys_check(void *state, struct crcore_error *err)
{
	struct ttys *t = state;
	int r = 0;

	if (t->nends)
		qsort(t->ends, t->nends, sizeof(*t->ends), by_id);
	for (unsigned i = 0; !r && i < t->nends; i++)
		r = check_end(t, i, err);
	for (unsigned i = 0; !r && i < t->nmade; i++)
		r = check_terminal(t, t->made[i], err);
	for (unsigned i = 0; !r && i < t->nsessions; i++)
		if (!ttys_made(t, t->sessions[i]->terminal))
			r = crcore_fail(err, -EBADMSG, "the terminal of session %u is missing",
			                t->sessions[i]->sid);
	return r;
}
