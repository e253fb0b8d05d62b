/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of SOL_SOCKET: those that differ from a new socket of the same type (net/options.h).
 * Sizes of buffers and SO_PEEK_OFF have fields of their own, since queues are filled between.
 */
#include "sockets.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

static uint32_t word(int fd, int option)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? 0 : value;
}

static int add(Sockets__Unix *rec, const struct net_value *v)
{
	Sockets__Option *o = malloc(sizeof(*o) + v->len);

	if (!o)
		return -ENOMEM;
	sockets__option__init(o);
	o->number = (uint32_t)v->number;
	o->value.data = memcpy(o + 1, v->data, v->len);
	o->value.len = v->len;
	rec->options[rec->n_options++] = o;
	return 0;
}

int options_save(struct sockets *s, int fd, Sockets__Unix *rec, struct crcore_error *err)
{
	cleanup_free struct net_value *v = NULL;
	struct net_buffers b;
	unsigned n;
	int r = net_options_read(&s->usual, fd, AF_UNIX, (int)rec->type, 0, &v, &n);

	if (r < 0)
		return crcore_fail(err, r, "its options cannot be read: %s", strerror(-r));
	rec->options = calloc(n + 1, sizeof(*rec->options));
	if (!rec->options)
		return crcore_fail(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; !r && i < n; i++)
		r = v[i].number == SO_PEEK_OFF ? 0 : add(rec, &v[i]);
	net_buffers_read(fd, &b);
	rec->send_buffer = b.send;
	rec->receive_buffer = b.receive;
	rec->buffer_lock = b.lock;
	return r < 0 ? crcore_fail(err, r, "out of memory") : 0;
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

void options_free(Sockets__Unix *rec)
{
	for (size_t i = 0; i < rec->n_options; i++)
		free(rec->options[i]);
	free(rec->options);
	rec->options = NULL;
	rec->n_options = 0;
}

/* bytes as getsockopt tells them: twice what was asked for. */
int buffer_set(int fd, bool send, uint32_t bytes)
{
	int half = (int)(bytes / 2), option = send ? SO_SNDBUF : SO_RCVBUF;

	if (word(fd, option) == bytes)
		return 0;
	int forced = send ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
	if (setsockopt(fd, SOL_SOCKET, forced, &half, sizeof(half)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, option, &half, sizeof(half)) < 0)
		return -errno;
	return 0;
}

int options_set(int fd, const Sockets__Unix *rec, struct crcore_error *err)
{
	uint32_t lock = rec->buffer_lock;
	int r = 0;

	if ((r = buffer_set(fd, true, rec->send_buffer)) < 0 ||
	    (r = buffer_set(fd, false, rec->receive_buffer)) < 0)
		return crcore_fail(err, r, "cannot give it its buffers: %s", strerror(-r));
	if (word(fd, SO_BUF_LOCK) != lock)
		setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock)); /* not on older kernels */
	for (size_t i = 0; i < rec->n_options; i++) {
		const Sockets__Option *o = rec->options[i];
		if (setsockopt(fd, SOL_SOCKET, (int)o->number, o->value.data, (socklen_t)o->value.len) < 0)
			return crcore_fail(err, -errno, "cannot set its option %u: %s", o->number,
			                   strerror(errno));
	}
	if (rec->peek_offset >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &rec->peek_offset, sizeof(rec->peek_offset)) < 0)
		return crcore_fail(err, -errno, "cannot set SO_PEEK_OFF: %s", strerror(errno));
	if (rec->n_filter || rec->filter_locked)
		r = net_filter_set(fd, rec->filter, rec->n_filter, rec->filter_locked);
	return r < 0 ? crcore_fail(err, r, "cannot attach its filter: %s", strerror(-r)) : 0;
}
