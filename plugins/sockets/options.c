/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of UNIX sockets: those of SOL_SOCKET, by the table of plugins/net. SO_PEEK_OFF has a
 * field of its own, since queues are looked at and filled between.
 */
#include "sockets.h"

int options_save(struct sockets *s, int fd, Sockets__Unix *rec, struct net_value **ret_values,
                 struct crcore_error *err)
{
	struct net_buffers buffers;
	struct net_value *v;
	unsigned n;
	int r = net_options_read(&s->usual, fd, AF_UNIX, (int)rec->type, 0, ret_values, &n);

	if (r < 0)
		return crcore_fail(err, r, "cannot read its options: %s", strerror(-r));
	rec->options = malloc((n + 1) * sizeof(*rec->options) + n * sizeof(**rec->options));
	if (!rec->options)
		return crcore_no_memory(err);
	Sockets__Option *o = (Sockets__Option *)(void *)(rec->options + n + 1);
	for (v = *ret_values; n; n--, v++) {
		if (v->number == SO_PEEK_OFF)
			continue;
		sockets__option__init(o);
		o->number = (uint32_t)v->number;
		o->value = (ProtobufCBinaryData){ v->len, (uint8_t *)v->data };
		rec->options[rec->n_options++] = o++;
	}
	net_buffers_read(fd, &buffers);
	rec->send_buffer = buffers.send;
	rec->receive_buffer = buffers.receive;
	rec->buffer_lock = buffers.lock;
	return 0;
}

/* While the tree runs there is time for that. */
void options_prepare(struct sockets *s)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;
	unsigned n[SOCK_SEQPACKET + 1] = { 0 };

	if (CRCORE_HAS(s->host, found) && s->host->found(s->ctx, -1, &unused) > 0)
		return;
	for (unsigned i = 0; i < s->nknown; i++)
		if (s->known[i].d && s->known[i].d->type <= SOCK_SEQPACKET)
			n[s->known[i].d->type]++;
	for (int type = 0; type <= SOCK_SEQPACKET; type++)
		if (n[type] >= NET_MANY)
			net_options_many(&s->usual, AF_UNIX, type, 0);
}

int options_set(int fd, const Sockets__Unix *rec, struct crcore_error *err)
{
	const struct net_buffers buffers = { rec->send_buffer, rec->receive_buffer, rec->buffer_lock };
	int r = net_buffers_set(fd, &buffers);

	if (r < 0)
		return crcore_fail(err, r, "cannot give it its buffers: %s", strerror(-r));
	for (size_t i = 0; i < rec->n_options; i++) {
		Net__Option o = NET__OPTION__INIT;
		o.level = SOL_SOCKET;
		o.number = rec->options[i]->number;
		o.value = rec->options[i]->value;
		r = net_option_when(SOL_SOCKET, (int)o.number) ? net_option_apply(fd, &o, err) : 0;
		if (r < 0)
			return r;
	}
	if (rec->peek_offset >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &rec->peek_offset, sizeof(rec->peek_offset)) < 0)
		return crcore_fail(err, -errno, "cannot set SO_PEEK_OFF: %s", strerror(errno));
	if (rec->n_filter || rec->filter_locked)
		r = net_filter_set(fd, rec->filter, rec->n_filter, rec->filter_locked);
	return r < 0 ? crcore_fail(err, r, "cannot attach its filter: %s", strerror(-r)) : 0;
}
