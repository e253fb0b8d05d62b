/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: descriptors in flight (SCM_RIGHTS). What they lead to is told to the
 * host before anything is reviewed, so it is saved like all else of the tree;
 * here it is only noted which objects they are, in the order of the queue.
 */
#include "sockets.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

unsigned flight_count(const struct crcore_object *obj)
{
	const char *line = strstr(obj->fdinfo, "scm_fds:");

	return line ? (unsigned)strtoul(line + 8, NULL, 10) : 0;
}

static int tell(struct sockets *s, struct reader *q, struct flight *f, unsigned max,
                struct crcore_error *err)
{
	for (unsigned i = 0; i < q->nfds && f->n < max; i++) {
		int id = s->host->found(s->ctx, q->fds[i], err);
		if (id <= 0)
			return id;
		f->ids[f->n++] = (uint32_t)id;
	}
	return 0;
}

static int look(struct sockets *s, struct reader *q, struct flight *f, unsigned max,
                struct crcore_error *err)
{
	int r = 1;

	while (r > 0 && f->n < max) {
		Sockets__Message m = SOCKETS__MESSAGE__INIT;
		struct sockaddr_un from;
		r = peek_next(q, &m, &from);
		if (r > 0 && !m.length) { /* the kernel shows it once, and the bytes are read later */
			peek_drop(q);
			crcore_advise(err, "let the receiver take it before the dump");
			return crcore_fail(err, -ENOTSUP, "an empty message waits in it together with "
			                   "descriptors in flight");
		}
		q->seen += r > 0 ? m.length : 0;
		if (r > 0 && (r = tell(s, q, f, max, err)) == 0)
			r = 1;
	}
	peek_drop(q);
	return r < 0 ? r : 0;
}

static struct flight *new_flight(struct sockets *s, uint32_t ino, unsigned max)
{
	struct flight *more = realloc(s->flights, (s->nflights + 1) * sizeof(*more));

	if (!more)
		return NULL;
	s->flights = more;
	more[s->nflights] = (struct flight){ .ino = ino, .ids = calloc(max, sizeof(uint32_t)) };
	return more[s->nflights].ids ? &more[s->nflights++] : NULL;
}

static int note(struct sockets *s, const struct crcore_object *obj, int type, unsigned max,
                struct crcore_error *err)
{
	struct flight *f = new_flight(s, (uint32_t)obj->st.st_ino, max);
	Sockets__Unix rec = SOCKETS__UNIX__INIT;
	struct reader q = { .s = s, .rec = &rec, .fd = obj->local_fd };
	socklen_t len = sizeof(rec.peek_offset);
	int r = f ? peek_room(s, QUEUE_ROOM) : -ENOMEM;

	rec.type = (uint32_t)type;
	if (!r && getsockopt(q.fd, SOL_SOCKET, SO_PEEK_OFF, &rec.peek_offset, &len) < 0)
		r = -errno;
	if (!r)
		r = queue_begin(&q, err);
	if (!r) {
		int back;
		r = look(s, &q, f, max, err);
		back = queue_end(&q);
		r = r ? r : back;
	}
	if (r < 0)
		return crcore_fail(err, r, "cannot look at the descriptors in flight in it: %s",
		                   strerror(-r));
	if (f->n == max)
		return 0;
	crcore_advise(err, "let the receiver take them before the dump");
	return crcore_fail(err, -ENOTSUP, "%u descriptors (SCM_RIGHTS) are in flight in it, of which "
	                   "only %u can be seen", max, f->n);
}

int flight_note(struct sockets *s, const struct crcore_object *obj, struct crcore_error *err)
{
	int type = 0, listens = 0, frozen = -ENOSYS;
	socklen_t len = sizeof(int);

	if (CRCORE_HAS(s->host, found))
		frozen = s->host->found(s->ctx, -1, err);
	if (frozen == 0) /* nothing is looked for, but what else is refused is decided later */
		return s->host->found(s->ctx, obj->local_fd, err);
	getsockopt(obj->local_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
	if (frozen < 0 || listens) {
		crcore_advise(err, "let the receiver take them before the dump");
		return crcore_fail(err, -ENOTSUP, "%u descriptors (SCM_RIGHTS) are in flight in %s, which "
		                   "cannot be saved", flight_count(obj),
		                   listens ? "connections that nobody has accepted yet" : "it");
	}
	len = sizeof(type);
	getsockopt(obj->local_fd, SOL_SOCKET, SO_TYPE, &type, &len);
	return note(s, obj, type, flight_count(obj), err);
}

/* The next n of them, which came with one message. */
const uint32_t *flight_take(struct sockets *s, uint32_t ino, unsigned n)
{
	for (unsigned i = 0; i < s->nflights; i++) {
		struct flight *f = &s->flights[i];
		if (f->ino != ino || f->taken + n > f->n)
			continue;
		f->taken += n;
		return f->ids + f->taken - n;
	}
	return NULL;
}

void flight_free(struct sockets *s)
{
	for (unsigned i = 0; i < s->nflights; i++)
		free(s->flights[i].ids);
	free(s->flights);
}
