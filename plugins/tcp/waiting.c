/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: connections that waited to be accepted: their records, and their way back into the
 * backlogs, one listening socket after the other. */
#include "plugins/tcp/backlog.h"

#define MAX_RECEIVED (1u << 30)

static bool load(const Tcp__Waiting *rec, struct queued *w)
{
	const Tcp__Stream *st = rec->stream;
	const Tcp__Queues *q = rec->queues;

	if (!stream_sane(st) || !q || !rec->local || !rec->remote || q->received > MAX_RECEIVED ||
	    q->receive_blob > INT64_MAX || q->urgent > q->received ||
	    st->send_window >> st->send_scale > UINT16_MAX)
		return false;
	*w = (struct queued){ .listener = rec->listener, .at = q->receive_blob, .received = q->received,
		.urgent = q->urgent, .first = st->receive_next - q->received, .ack = st->send_next,
		.clock = st->clock, .window = (uint16_t)(st->send_window >> st->send_scale),
		.mss = (uint16_t)st->mss, .send_scale = (uint8_t)st->send_scale,
		.receive_scale = (uint8_t)st->receive_scale, .timestamps = st->timestamps,
		.sack = st->sack, .scaling = st->scaling, .ecn = st->ecn, .fin = st->fin_received,
		.reset = rec->reset };
	const uint32_t family = rec->local->ip.len == 4 ? AF_INET : AF_INET6;
	return end_load(rec->local, family, &w->local) && end_load(rec->remote, family, &w->remote) &&
	       w->local.port && w->remote.port && end_is_v4(&w->local) == end_is_v4(&w->remote);
}

int waiting_load(struct tcp *t, const void *msg, size_t len, struct crcore_error *err)
{
	Tcp__Waiting *rec = tcp__waiting__unpack(NULL, len, msg);
	bool good = false;

	if (t->drop_in_flight) {
		good = rec;
	} else if (rec) {
		if (!GROW(t->waits, t->nwaits)) {
			tcp__waiting__free_unpacked(rec, NULL);
			return crcore_no_memory(err);
		}
		good = load(rec, &t->waits[t->nwaits]);
		t->nwaits += good;
	}
	if (rec)
		tcp__waiting__free_unpacked(rec, NULL);
	return good ? 0 : crcore_fail(err, -EBADMSG, "the record of a connection that waits to be "
	                              "accepted makes no sense");
}

bool made_listens_at(const struct made *m, const struct end *e)
{
	struct end at = m->local;

	if (end_any(&at))
		memcpy(at.ip, e->ip, sizeof(at.ip));
	return end_compare(&at, e) == 0;
}

/* An image is not to be trusted: what it says must reach no socket but that one. */
static bool belongs(const struct queued *w, const struct made *m)
{
	return m->rec->state == TCP__STATE__LISTENING && m->rec->family == w->local.family &&
	       made_listens_at(m, &w->local);
}

/* Both ends move if the other one is in the tree. */
static void map_both(const struct tcp *t, struct queued *w)
{
	struct end there = w->remote;

	map_apply(t, &w->local);
	map_apply(t, &there);
	for (unsigned i = 0; i < t->nmade; i++)
		if (t->made[i]->rec->waited && end_compare(&t->made[i]->local, &there) == 0 &&
		    end_compare(&t->made[i]->remote, &w->local) == 0)
			w->remote = there;
}

int waiting_check(struct tcp *t, struct crcore_error *err)
{
	for (unsigned i = 0; i < t->nwaits; i++) {
		struct queued *w = &t->waits[i];
		const struct made *m = net_find(t->made, t->nmade, w->listener);
		int r = w->received ? blob_has(t, w->at + w->received, err) : 0;
		if (r < 0)
			return r;
		map_both(t, w);
		if (!m || !belongs(w, m))
			return crcore_fail(err, -EBADMSG, "a connection waits to be accepted where nobody "
			                   "listens");
	}
	return t->nwaits ? reqsk_possible(&t->kfunc, err) : 0;
}

static int begin(struct tcp *t, struct crcore_error *err)
{
	int blob = t->host->blob(t->ctx, "socket", err);

	if (blob < 0 || t->requeue)
		return blob < 0 ? blob : 0;
	t->requeue = calloc(1, sizeof(*t->requeue));
	return t->requeue ? requeue_begin(t->requeue, blob, &t->kfunc, err)
	                  : crcore_no_memory(err);
}

void waiting_done(struct tcp *t)
{
	if (t->requeue)
		requeue_end(t->requeue);
	free(t->requeue);
	t->requeue = NULL;
}

static int fail(const struct queued *w, int r, struct crcore_error *err)
{
	char here[END_TEXT], there[END_TEXT];

	crcore_fail_at(err, -1, -1, "%s, connected from %s", end_text(&w->local, here),
	               end_text(&w->remote, there));
	crcore_advise(err, "is the loopback interface up (ip link set lo up), are the sysctls "
	              "net.ipv4.tcp_* as they were, and does no firewall rule drop packets from this "
	              "machine to itself? Or drop it: --set tcp.in-flight=drop");
	return crcore_fail(err, r, "cannot be put back where it waited to be accepted: %s",
	                   strerror(-r));
}

static bool waits_at(const struct tcp *t, const struct made *m)
{
	for (unsigned i = 0; i < t->nwaits; i++)
		if (t->waits[i].listener == m->rec->id)
			return true;
	return false;
}

/* The listening socket is complete: what comes back inherits its options. */
int waiting_fill(struct tcp *t, const struct made *m, struct crcore_error *err)
{
	int r;

	if (!waits_at(t, m))
		return 0;
	r = begin(t, err);
	if (r < 0)
		return r;
	r = group_choose(m->fd);
	for (unsigned i = 0; i < t->nwaits; i++) {
		const struct queued *w = &t->waits[i];
		if (w->listener != m->rec->id)
			continue;
		if (!r)
			r = requeue(t->requeue, m->fd, w);
		if (r < 0)
			return fail(w, r, err);
	}
	group_as_before(m->fd);
	return 0;
}
