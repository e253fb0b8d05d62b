/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: the record of one socket. */
#include "plugins/tcp/backlog.h"

Tcp__Address *address_record(const struct end *e, Tcp__Address *ret)
{
	tcp__address__init(ret);
	ret->ip.data = (uint8_t *)(uintptr_t)e->ip;
	ret->ip.len = e->family == AF_INET ? 4 : 16;
	ret->port = e->port;
	ret->scope = e->scope;
	return e->family ? ret : NULL;
}

static Tcp__State state_of(const struct tcp *t, const struct known *k)
{
	if (k->state == ST_LISTEN)
		return TCP__STATE__LISTENING;
	if (k->state == ST_SYN_SENT)
		return TCP__STATE__CONNECTING;
	if (k->unaccepted)
		return t->drop_in_flight ? TCP__STATE__RESET : TCP__STATE__WAITING;
	if (state_connected(k->state))
		return k->verdict == CLOSE   ? TCP__STATE__CLOSED
		       : k->verdict == RESET ? TCP__STATE__RESET
		                             : TCP__STATE__CONNECTED;
	if (!k->hung_up)
		return TCP__STATE__NEW;
	if (!k->was_connected)
		return TCP__STATE__REFUSED;
	return k->error ? TCP__STATE__RESET : TCP__STATE__CLOSED;
}

static void fill_plain(const struct tcp *t, const struct crcore_object *obj,
                       const struct known *k, Tcp__Socket *rec)
{
	rec->id = obj->id;
	rec->family = k->local.family;
	rec->flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	rec->state = state_of(t, k);
	rec->peer = k->peer ? k->peer->obj->id : 0;
	rec->incoming = k->incoming;
	rec->waited = k->waited;
	rec->backlog = (int32_t)(k->backlog > INT_MAX ? INT_MAX : k->backlog);
	rec->mode = obj->st.st_mode;
	rec->uid = obj->st.st_uid;
	rec->gid = obj->st.st_gid;
	rec->send_buffer = k->buffers.send;
	rec->receive_buffer = k->buffers.receive;
	rec->buffer_lock = k->buffers.lock;
	if ((rec->state == TCP__STATE__NEW || rec->state == TCP__STATE__LISTENING) && k->user_mss > 0 &&
	    k->user_mss != 536) /* TCP_MSS_DEFAULT: not set */
		rec->user_mss = (uint32_t)k->user_mss;
	rec->filter = k->filter;
	rec->n_filter = k->nfilter;
	rec->filter_locked = k->filter_locked;
	rec->error_read = rec->state == TCP__STATE__REFUSED && !k->error;
	rec->shut_read = rec->state == TCP__STATE__CONNECTED && state_connected(k->state) &&
	                 k->hung_up && !k->stream.fin_received;
}

static int save(struct tcp *t, const struct crcore_object *obj, struct known *k,
                struct crcore_error *err)
{
	cleanup_free Net__Option **options = NULL;
	Tcp__Socket rec = TCP__SOCKET__INIT;
	Tcp__Address local, remote;

	fill_plain(t, obj, k, &rec);
	rec.options = options = net_options_list(k->options, k->noptions);
	rec.n_options = k->noptions;
	if (!options)
		return crcore_no_memory(err);
	rec.local = address_record(&k->local, &local);
	rec.remote = address_record(&k->remote, &remote);
	if (rec.state == TCP__STATE__CONNECTED)
		rec.stream = &k->stream;
	rec.queues = k->read && rec.state != TCP__STATE__REFUSED ? &k->queues : NULL;
	return record_put(t->host, t->ctx, "socket", &rec.base, err);
}

int tcp_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct tcp *t = state;
	struct known *k = tcp_known(t, (uint32_t)obj->st.st_ino);
	int r;

	if (!k || !k->obj)
		return crcore_fail(err, -EINVAL, "this socket was not there when the tree was looked at");
	r = tcp_gather(t, err);
	if (!r)
		r = k->failed ? known_tell(k, err) : save(t, obj, k, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

/* Those that wait to be accepted: late, to have few come after them. Then which table a restore
 * has to take away: it stays when the tree goes. */
int tcp_save(void *state, struct crcore_error *err)
{
	struct tcp *t = state;
	Tcp__Lock rec = TCP__LOCK__INIT;
	int r = bytes_flush(t, err);
	uint8_t bytes[LOCK_NAME + 8];
	const char *name;

	if (!r)
		r = backlog_take(t, err);
	name = leaves(t) == CRCORE_LEAVE_KILLED ? lock_name(t) : NULL;
	if (r < 0 || !name)
		return r;
	rec.table = (char *)(uintptr_t)name;
	return t->host->put_record(t->ctx, "lock", bytes, tcp__lock__pack(&rec, bytes), err);
}
