/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells of a space: faults, and changes (changes.c). All that is read is written
 * by the kernel into the journal itself, several messages in one call, so whoever has to go on in
 * our place knows it, too.
 */
#include "core/pager/priv.h"

#define LATE 3000000 /* ns that a change may be told late, where one shows */

struct space *space_add(struct state *p, int uffd)
{
	struct space *s = calloc(1, sizeof(*s));
	bool ok = s && GROW(p->v, p->n);

	if (!ok) {
		free(s);
		return NULL;
	}
	s->uffd = uffd;
	s->pidfd = -1;
	p->v[p->n++] = s;
	return s;
}

/* Takes account of a note. */
static int apply(struct state *p, struct note *note, struct crcore_error *err)
{
	struct space *s = p->v[note->space];
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (note->msg.event == NOTE_OVER) {
		changes_free(s);
		s->uffd = -1;
	} else if (note->msg.event == NOTE_QUIET || note->msg.event == NOTE_TIME) {
		r = changes_settle(p, s, note->msg.event == NOTE_QUIET, err);
	} else if (note->msg.event != UFFD_EVENT_PAGEFAULT) {
		shared_heed(p, s, &note->msg);
		r = changes_add(p, s, note, err);
	}
	pthread_mutex_unlock(&p->lock);
	p->applied++;
	return r;
}

/* The next notes are of that space; none is there yet. */
static struct note *next_notes(struct state *p, unsigned space, unsigned n)
{
	struct note *note = &p->journal->v[p->journal->n];

	for (unsigned i = 0; i < n; i++)
		note[i] = (struct note){ .space = space, .batch = p->batch };
	return note;
}

static int note_own(struct state *p, unsigned space, uint8_t kind, struct crcore_error *err)
{
	struct note *note = next_notes(p, space, 2);

	note->msg.event = kind;
	note->msg.arg.fork.ufd = (uint32_t)p->v[space]->uffd;
	atomic_fetch_add(&p->journal->n, 1);
	return apply(p, note, err);
}

static int settle(struct state *p, unsigned space, bool *ret_held, struct crcore_error *err)
{
	const struct space *s = p->v[space];
	bool time;
	int r = 0;

	*ret_held = false;
	if (s->uffd < 0 || (!changes_held(s, &time) && !s->nmoves))
		return 0;
	if (is_quiet(p, s))
		r = note_own(p, space, NOTE_QUIET, err);
	else if (time)
		r = note_own(p, space, NOTE_TIME, err);
	*ret_held = s->nheld > 0;
	return r;
}

static ssize_t read_some(const struct space *s, struct note *note)
{
	struct iovec v[NOTES_AT_ONCE];

	for (int i = 0; i < NOTES_AT_ONCE; i++)
		v[i] = (struct iovec){ &note[i].msg, sizeof(note[i].msg) };
	ssize_t n = readv(s->uffd, v, NOTES_AT_ONCE);
	return n < 0 ? -errno : n / (ssize_t)sizeof(note->msg);
}

int events_read(struct state *p, unsigned space, struct fault *ret, unsigned *ret_n,
                struct crcore_error *err)
{
	const struct timespec wait = { 0, LATE }, breath = { 0, 1000000 };
	bool held;
	int r = 0;

	*ret_n = 0;
	pthread_rwlock_wrlock(&p->events);
	p->batch++;
	struct note *note = next_notes(p, space, NOTES_AT_ONCE + 1);
	ssize_t n = read_some(p->v[space], note);
	if (n > 0)
		atomic_fetch_add(&p->journal->n, (unsigned)n);
	else if (n < 0 && n != -EAGAIN) /* no descriptor is left for a child, until others end */
		nanosleep(&breath, NULL);
	for (ssize_t i = 0; i < n && r == 0; i++) {
		if (note[i].msg.event == UFFD_EVENT_PAGEFAULT)
			ret[(*ret_n)++] = (struct fault){
				space, note[i].msg.arg.pagefault.address & ~(PAGE - 1) };
		r = apply(p, &note[i], err);
	}
	if (r == 0)
		r = settle(p, space, &held, err);
	if (r == 0 && held)
		nanosleep(&wait, NULL);
	pthread_rwlock_unlock(&p->events);
	return r < 0 ? r : n > 0;
}

int events_settle(struct state *p, bool *ret_held, struct crcore_error *err)
{
	bool held;
	int r = 0;

	*ret_held = false;
	for (unsigned i = 0; i < p->n && r == 0; i++) {
		if (!p->v[i]->nheld)
			continue;
		pthread_rwlock_wrlock(&p->events);
		r = settle(p, i, &held, err);
		pthread_rwlock_unlock(&p->events);
		*ret_held |= held;
	}
	return r;
}

void space_close(struct state *p, unsigned space)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	pthread_rwlock_wrlock(&p->events);
	int fd = p->v[space]->uffd;
	note_own(p, space, NOTE_OVER, &ignored); /* frees only */
	if (p->v[space]->segment)
		shared_release(p->v[space], fd);
	close(fd);
	pthread_rwlock_unlock(&p->events);
}

/* Killed between the note and the end of it? Its number may belong to another thing by now. */
static void close_again(const struct note *note)
{
	char path[40], text[40];
	const int fd = (int)note->msg.arg.fork.ufd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, text, sizeof(text) - 1);
	if (n > 0 && (text[n] = '\0', strstr(text, "[userfaultfd]")))
		close(fd);
}

int events_replay(struct state *p, struct crcore_error *err)
{
	struct journal *j = p->journal;
	int r = 0;

	while (j->v[j->n].msg.event) /* read, and not counted any more */
		j->n++;
	const bool any = p->applied < j->n;
	while (r == 0 && p->applied < j->n)
		r = apply(p, &j->v[p->applied], err);
	if (j->n)
		p->batch = j->v[j->n - 1].batch;
	if (r == 0 && any && j->v[j->n - 1].msg.event == NOTE_OVER)
		close_again(&j->v[j->n - 1]);
	for (unsigned i = 0; r == 0 && i < p->n; i++)
		wake_all(p->v[i]);
	return r;
}
