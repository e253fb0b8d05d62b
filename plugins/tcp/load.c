/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, and whether they make sense together. */
#include "plugins/tcp/backlog.h"

#include <sys/stat.h>

#define MAX_BUFFER (1u << 31)
#define MAX_QUEUE (1u << 30)
#define MAX_SCALE 14

void made_free(struct made *m)
{
	close_fd(&m->fd);
	if (m->rec)
		tcp__socket__free_unpacked(m->rec, NULL);
	free(m);
}

bool end_load(const Tcp__Address *a, uint32_t family, struct end *ret)
{
	*ret = (struct end){ 0 };
	if (!a)
		return true;
	if (a->ip.len != (family == AF_INET ? 4 : 16) || a->port > 65535)
		return false;
	ret->family = (uint16_t)family;
	ret->port = (uint16_t)a->port;
	ret->scope = a->scope;
	memcpy(ret->ip, a->ip.data, a->ip.len);
	return true;
}

bool stream_sane(const Tcp__Stream *st)
{
	return st && st->mss && st->mss <= 65535 && st->send_scale <= MAX_SCALE &&
	       st->receive_scale <= MAX_SCALE && (!st->fin_acked || st->fin_sent);
}

static bool sane(const Tcp__Socket *rec)
{
	const Tcp__Queues *q = rec->queues;

	if (!rec->id || (rec->family != AF_INET && rec->family != AF_INET6) || !S_ISSOCK(rec->mode) ||
	    rec->send_buffer >= MAX_BUFFER || rec->receive_buffer >= MAX_BUFFER || rec->backlog < 0 ||
	    rec->user_mss > 65535)
		return false;
	for (size_t i = 0; i < rec->n_options; i++)
		if (rec->options[i]->value.len > NET_VALUE_MAX ||
		    !net_option_when((int)rec->options[i]->level, (int)rec->options[i]->number))
			return false;
	if (q && (q->blob > INT64_MAX || q->receive_blob > INT64_MAX || q->sent > MAX_QUEUE ||
	          q->unsent > MAX_QUEUE || q->received > MAX_QUEUE || q->urgent > q->received ||
	          q->urgent_to_send > q->sent + q->unsent))
		return false;
	switch (rec->state) {
	case TCP__STATE__NEW:
	case TCP__STATE__REFUSED:
		return !q && !rec->stream;
	case TCP__STATE__LISTENING:
		return rec->local && rec->local->port && !q && !rec->stream;
	case TCP__STATE__CONNECTING:
	case TCP__STATE__WAITING:
		return rec->remote && rec->remote->port && !q && !rec->stream;
	case TCP__STATE__CONNECTED:
		return rec->local && rec->local->port && rec->remote && rec->remote->port && q &&
		       stream_sane(rec->stream);
	case TCP__STATE__CLOSED:
	case TCP__STATE__RESET:
		return !rec->stream;
	default:
		return false;
	}
}

static int load_socket(struct tcp *t, const void *msg, size_t len, struct crcore_error *err)
{
	struct made *m = net_load(&t->made, &t->nmade, sizeof(*m), &tcp__socket__descriptor, msg, len,
	                          err);

	if (!m)
		return err->code;
	m->fd = -1;
	if (!sane(m->rec) || !end_load(m->rec->local, m->rec->family, &m->local) ||
	    !end_load(m->rec->remote, m->rec->family, &m->remote))
		return crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense", m->rec->id);
	return 0;
}

static int load_lock(struct tcp *t, const void *msg, size_t len, struct crcore_error *err)
{
	Tcp__Lock *rec = tcp__lock__unpack(NULL, len, msg);
	bool good = rec && lock_is_name(rec->table);

	if (good) {
		free(t->old_table);
		t->old_table = strdup(rec->table);
	}
	if (rec)
		tcp__lock__free_unpacked(rec, NULL);
	return good && t->old_table ? 0 : crcore_fail(err, -EBADMSG, "the record of the network lock "
	                                              "makes no sense");
}

int tcp_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *err)
{
	if (!strcmp(section, "socket"))
		return load_socket(state, msg, len, err);
	if (!strcmp(section, "lock"))
		return load_lock(state, msg, len, err);
	if (!strcmp(section, "backlog"))
		return waiting_load(state, msg, len, err);
	return crcore_fail(err, -EBADMSG, "there is no section %s", section);
}

/* -- together ---------------------------------------------------------------------------- */

int blob_has(struct tcp *t, uint64_t end, struct crcore_error *err)
{
	int blob = t->host->blob(t->ctx, "socket", err);
	struct stat st = { 0 };

	if (blob < 0)
		return blob;
	if (fstat(blob, &st) < 0 || end > (uint64_t)st.st_size)
		return crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
	return 0;
}

static int check_queues(struct tcp *t, const struct made *m, struct crcore_error *err)
{
	const Tcp__Queues *q = m->rec->queues;
	uint64_t end, end2;

	if (!q || !(q->sent + q->unsent + q->received))
		return 0;
	end = q->sent + q->unsent ? q->blob + q->sent + q->unsent : 0;
	end2 = q->received ? q->receive_blob + q->received : 0;
	return blob_has(t, end > end2 ? end : end2, err);
}

/*
 * Where the send queue begins. A peer in the tree was asked later: what it has
 * received need not be sent, and the rest is as good as never sent.
 */
static int place_stream(struct made *m, struct crcore_error *err)
{
	const Tcp__Stream *st = m->rec->stream, *other;
	uint32_t len, all;

	if (m->rec->state != TCP__STATE__CONNECTED)
		return m->rec->peer ? crcore_fail(err, -EBADMSG, "socket %u has a peer, and no connection",
		                                  m->rec->id) : 0;
	len = m->rec->queues->sent + m->rec->queues->unsent;
	all = len + (st->fin_sent && !st->fin_acked);
	m->una = st->send_next + st->fin_acked - len;
	if (!m->rec->peer)
		return 0;
	other = m->peer ? m->peer->rec->stream : NULL;
	if (!other || m->peer == m || m->peer->rec->peer != m->rec->id)
		return crcore_fail(err, -EBADMSG, "the records of socket %u and of its peer do not match",
		                   m->rec->id);
	m->skip = other->receive_next + other->fin_received - m->una;
	if (m->skip > all)
		return crcore_fail(err, -EBADMSG, "the numbers of socket %u and of its peer do not match",
		                   m->rec->id);
	m->una += m->skip;
	return 0;
}

/* The policy in force now may want less than the one of the dump. */
static int apply_policy(struct tcp *t, struct made *m, struct crcore_error *err)
{
	char here[END_TEXT], there[END_TEXT];
	enum verdict v;

	if (m->rec->state != TCP__STATE__CONNECTED || m->rec->peer)
		return 0;
	v = m->rec->waited ? (t->drop_in_flight ? RESET : KEEP)
	                   : policy_find(t, &m->local, &m->remote, m->rec->incoming);
	if (v == REFUSE) {
		crcore_advise(err, "use --tcp-established or --tcp-close");
		return crcore_fail(err, -EPERM, "the policy refuses the connection %s -> %s",
		                   end_text(&m->local, here), end_text(&m->remote, there));
	}
	if (v == KEEP)
		return 0;
	m->rec->state = v == CLOSE ? TCP__STATE__CLOSED : TCP__STATE__RESET;
	tcp__stream__free_unpacked(m->rec->stream, NULL);
	m->rec->stream = NULL;
	m->rec->shut_read = false;
	return 0;
}

/* When all of its own addresses are mapped. */
static bool listens_there(const struct tcp *t, const struct end *e)
{
	for (unsigned i = 0; i < t->nmade; i++)
		if (t->made[i]->rec->state == TCP__STATE__LISTENING && made_listens_at(t->made[i], e))
			return true;
	return false;
}

/* The other end's address, if that is in the tree, too. */
static void map_remote(const struct tcp *t, struct made *m)
{
	struct end there = m->remote;

	map_apply(t, &there);
	if (m->peer || m->rec->waited || m->rec->state == TCP__STATE__WAITING ||
	    (m->rec->state == TCP__STATE__CONNECTING && listens_there(t, &there)))
		m->remote = there;
}

int tcp_check(void *state, struct crcore_error *err)
{
	struct tcp *t = state;
	int r = net_sort(t->made, t->nmade, err);

	for (unsigned i = 0; !r && i < t->nmade; i++)
		t->made[i]->peer = net_find(t->made, t->nmade, t->made[i]->rec->peer);
	for (unsigned i = 0; !r && i < t->nmade; i++) {
		r = apply_policy(t, t->made[i], err);
		if (!r)
			r = check_queues(t, t->made[i], err);
		if (!r)
			r = place_stream(t->made[i], err);
		map_apply(t, &t->made[i]->local);
	}
	for (unsigned i = 0; !r && i < t->nmade; i++)
		map_remote(t, t->made[i]);
	return r ? r : waiting_check(t, err);
}

/* Before there is a socket to which its peer could speak. */
int tcp_prepare(void *state, struct crcore_error *err)
{
	struct tcp *t = state;
	struct lock_list l = { .v = calloc(t->nmade + t->nwaits + 1, sizeof(*l.v)) };
	int r;

	if (!l.v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < t->nmade; i++)
		if (t->made[i]->rec->state == TCP__STATE__CONNECTED && !t->made[i]->peer)
			l.v[l.n++] = (struct locked){ t->made[i]->local, t->made[i]->remote };
	for (unsigned i = 0; i < t->nwaits; i++)
		l.v[l.n++] = (struct locked){ t->waits[i].local, t->waits[i].remote };
	r = lock_take(t, &l, err);
	free(l.v);
	return r;
}
