/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of SOL_SOCKET. What differs from a new socket of the same type is
 * kept; so an option that the kernel does not have, or that a UNIX socket does
 * not take, costs nothing. Sizes of buffers and SO_PEEK_OFF have fields of
 * their own, since queues are filled between.
 */
#include "sockets.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
static const int numbers[] = {
	SO_DEBUG, SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK,
	SO_PRIORITY, SO_LINGER, SO_PASSCRED, SO_RCVLOWAT, 66 /* SO_RCVTIMEO_NEW */,
	67 /* SO_SNDTIMEO_NEW */, 29 /* SO_TIMESTAMP_OLD */, 35 /* SO_TIMESTAMPNS_OLD */,
	63 /* SO_TIMESTAMP_NEW */, 64 /* SO_TIMESTAMPNS_NEW */, SO_PASSSEC, SO_MARK, SO_RXQ_OVFL,
	SO_WIFI_STATUS, SO_NOFCS, SO_SELECT_ERR_QUEUE, 75 /* SO_RCVMARK */, SO_PASSPIDFD, SO_PASSRIGHTS,
};
#define NUMBERS (sizeof(numbers) / sizeof(*numbers))
_Static_assert(NUMBERS <= MAX_OPTIONS, "MAX_OPTIONS");

static uint32_t word(int fd, int option)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? 0 : value;
}

static int add(Sockets__Unix *rec, int number, const void *value, size_t len)
{
	Sockets__Option *o = malloc(sizeof(*o) + len);

	if (!o)
		return -ENOMEM;
	sockets__option__init(o);
	o->number = (uint32_t)number;
	o->value.data = memcpy(o + 1, value, len);
	o->value.len = len;
	rec->options[rec->n_options++] = o;
	return 0;
}

/* What a new socket of the type has. */
static int ask_usual(struct usual *u, uint32_t type)
{
	cleanup_close int fresh = socket(AF_UNIX, (int)type | SOCK_CLOEXEC, 0);

	if (fresh < 0)
		return -errno;
	for (unsigned i = 0; i < NUMBERS; i++) {
		socklen_t len = MAX_VALUE;
		u->has[i] = getsockopt(fresh, SOL_SOCKET, numbers[i], u->value[i], &len) == 0;
	}
	u->asked = true;
	return 0;
}

int options_save(struct sockets *s, int fd, Sockets__Unix *rec, struct crcore_error *err)
{
	struct usual *u = &s->usual[rec->type == SOCK_STREAM ? 0 : rec->type == SOCK_DGRAM ? 1 : 2];
	int r = u->asked ? 0 : ask_usual(u, rec->type);

	rec->options = calloc(NUMBERS, sizeof(*rec->options));
	if (r < 0 || !rec->options)
		return crcore_fail(err, r < 0 ? r : -ENOMEM, "cannot make a socket to compare with");
	for (unsigned i = 0; !r && i < NUMBERS; i++) {
		char value[MAX_VALUE] = { 0 };
		socklen_t len = MAX_VALUE;
		if (!u->has[i] || getsockopt(fd, SOL_SOCKET, numbers[i], value, &len) < 0 ||
		    !memcmp(value, u->value[i], MAX_VALUE))
			continue;
		r = add(rec, numbers[i], value, len);
	}
	rec->send_buffer = word(fd, SO_SNDBUF);
	rec->receive_buffer = word(fd, SO_RCVBUF);
	rec->buffer_lock = word(fd, SO_BUF_LOCK);
	return r < 0 ? crcore_fail(err, r, "out of memory") : 0;
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
	if (setsockopt(fd, SOL_SOCKET, send ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &half, sizeof(half)) < 0 &&
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
			return crcore_fail(err, -errno, "cannot set its option %u: %s", o->number, strerror(errno));
	}
	if (rec->peek_offset >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &rec->peek_offset, sizeof(rec->peek_offset)) < 0)
		return crcore_fail(err, -errno, "cannot set SO_PEEK_OFF: %s", strerror(errno));
	if (rec->n_filter || rec->filter_locked)
		r = net_filter_set(fd, rec->filter, rec->n_filter, rec->filter_locked);
	return r < 0 ? crcore_fail(err, r, "cannot attach its filter: %s", strerror(-r)) : 0;
}
