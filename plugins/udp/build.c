/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: all sockets are made at once when the first is asked for, since one
 * that gets its datagrams back must not share its port with another that would
 * take them. Until a socket is connected it takes nothing from the network: a
 * filter drops all that was not for it in its former life.
 */
#include "udp.h"

#include <linux/filter.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define BINDTODEVICE 25

/* -- options -------------------------------------------------------------------------------- */

static bool is(const Net__Option *o, uint32_t level, uint32_t number)
{
	return o->level == level && o->number == number;
}

/* A device that it is bound to would keep datagrams of the loopback device out. */
static bool to_defer(const Udp__Socket *rec, const Net__Option *o)
{
	return rec->n_queue && is(o, SOL_SOCKET, BINDTODEVICE);
}

static int set_options(int fd, const Udp__Socket *rec, unsigned when, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_options; i++) {
		const Net__Option *o = rec->options[i];
		bool now = net_option_when((int)o->level, (int)o->number) & when;
		int r = 0;
		if (to_defer(rec, o) ? when == NET_LATE : now)
			r = net_option_apply(fd, o, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- filters -------------------------------------------------------------------------------- */

static int take_nothing(int fd)
{
	const struct sock_filter drop = { BPF_RET | BPF_K, 0, 0, 0 };
	uint64_t number;

	memcpy(&number, &drop, sizeof(number));
	return net_filter_set(fd, &number, 1, false);
}

/* -- one socket ------------------------------------------------------------------------------ */

/* Ping sockets are allowed by group; the ids of this thread only. */
static int make_as(const Udp__Socket *rec, gid_t gid)
{
	int fd, e, death = 0;

	prctl(PR_GET_PDEATHSIG, &death); /* a change of ids clears it */
	if (syscall(SYS_setresgid, -1, gid, -1) < 0)
		return -1;
	fd = socket((int)rec->family, (int)rec->type | SOCK_CLOEXEC | SOCK_NONBLOCK,
	            (int)rec->protocol);
	e = errno;
	syscall(SYS_setresgid, -1, getgid(), -1);
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, death);
	errno = e;
	return fd;
}

static int make(struct made *m, struct crcore_error *err)
{
	const Udp__Socket *rec = m->rec;
	int fd = socket((int)rec->family, (int)rec->type | SOCK_CLOEXEC | SOCK_NONBLOCK,
	                (int)rec->protocol);

	if (fd < 0 && errno == EACCES)
		fd = make_as(rec, rec->gid);
	if (fd < 0 && errno == EACCES)
		crcore_advise(err, "allow group %u in /proc/sys/net/ipv4/ping_group_range", rec->gid);
	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make a %s socket: %s",
		                   udp_name(rec->type, rec->protocol), strerror(errno));
	m->fd = fd;
	if ((rec->uid != geteuid() || rec->gid != getegid()) && fchown(fd, rec->uid, rec->gid) < 0)
		return crcore_fail(err, -errno, "cannot give it its owner: %s", strerror(errno));
	return set_options(fd, rec, NET_EARLY, err);
}

static int bind_it(const struct made *m, struct crcore_error *err)
{
	const Udp__Socket *rec = m->rec;
	int one = 1, r;

	if (rec->peer.len && (r = take_nothing(m->fd)) < 0)
		return crcore_fail(err, r, "cannot attach a filter: %s", strerror(-r));
	if (!rec->bound.len)
		return 0;
	/* Those that share a port may have been told so only meanwhile. */
	setsockopt(m->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(m->fd, (struct sockaddr *)(void *)rec->bound.data, (socklen_t)rec->bound.len) == 0)
		return 0;
	r = -errno;
	if (r == -EADDRINUSE)
		crcore_advise(err, "end the process that uses it (ss -anp)");
	else if (r == -EADDRNOTAVAIL)
		crcore_advise(err, "give an interface the address that it had");
	return crcore_fail(err, r, "cannot bind a %s socket to its address: %s",
	                   udp_name(rec->type, rec->protocol), strerror(-r));
}

static int connect_it(const struct made *m, struct crcore_error *err)
{
	const Udp__Socket *rec = m->rec;
	int r;

	if (!rec->peer.len ||
	    connect(m->fd, (struct sockaddr *)(void *)rec->peer.data, (socklen_t)rec->peer.len) == 0)
		return 0;
	r = -errno;
	crcore_advise(err, "set up the routes that it had");
	return crcore_fail(err, r, "cannot connect a %s socket again: %s",
	                   udp_name(rec->type, rec->protocol), strerror(-r));
}

static int finish(const struct made *m, struct crcore_error *err)
{
	static const int how[] = { 0, SHUT_RD, SHUT_WR, SHUT_RDWR };
	const Udp__Socket *rec = m->rec;
	struct net_buffers buffers = { rec->send_buffer, rec->receive_buffer, rec->buffer_lock };
	int zero = 0, r = net_buffers_set(m->fd, &buffers);

	if (r < 0)
		return crcore_fail(err, r, "cannot give it its buffers: %s", strerror(-r));
	r = groups_join(m->fd, rec, err);
	if (!r && rec->bound.len)
		setsockopt(m->fd, SOL_SOCKET, SO_REUSEADDR, &zero, sizeof(zero));
	if (!r)
		r = set_options(m->fd, rec, NET_LATE, err);
	if (!r && rec->shutdown && shutdown(m->fd, how[rec->shutdown]) < 0)
		r = crcore_fail(err, -errno, "cannot shut it down: %s", strerror(errno));
	if (!r && (fchmod(m->fd, rec->mode & 07777) < 0 ||
	           fcntl(m->fd, F_SETFL, (int)rec->flags & O_NONBLOCK) < 0))
		r = crcore_fail(err, -errno, "cannot set its flags: %s", strerror(errno));
	if (r)
		return r;
	r = net_filter_set(m->fd, rec->filter, rec->n_filter, rec->filter_locked);
	return r < 0 ? crcore_fail(err, r, "cannot attach its filter: %s", strerror(-r)) : 0;
}

/* -- all of them ------------------------------------------------------------------------------- */

static int fill(struct udp *u, struct made *m, struct crcore_error *err)
{
	uint64_t want = 0;
	int r;

	if (!m->rec->n_queue)
		return 0;
	for (size_t i = 0; i < m->rec->n_queue; i++)
		want += 2 * (uint64_t)m->rec->queue[i]->length + 2048;
	r = m->rec->peer.len ? net_filter_set(m->fd, NULL, 0, false) : 0;
	if (r < 0)
		return crcore_fail(err, r, "cannot detach a filter: %s", strerror(-r));
	r = net_buffer_room(m->fd, false, want > INT_MAX ? INT_MAX : (uint32_t)want);
	if (r < 0)
		return crcore_fail(err, r, "cannot make room for what waits in it: %s", strerror(-r));
	return inject_queue(u, m, err);
}

/* Those without a peer first: one with a peer takes all that comes from there. */
static int step(struct udp *u, struct made *m, unsigned pass, struct crcore_error *err)
{
	int r;

	switch (pass) {
	case 0:
		return make(m, err);
	case 1:
		return bind_it(m, err);
	case 2:
		return m->rec->peer.len ? 0 : fill(u, m, err);
	case 3:
		r = connect_it(m, err);
		return r || !m->rec->peer.len ? r : fill(u, m, err);
	default:
		r = m->rec->n_queue ? connect_it(m, err) : 0; /* it may have been turned to another */
		return r ? r : finish(m, err);
	}
}

static int build(struct udp *u, struct crcore_error *err)
{
	int r = 0;

	for (unsigned pass = 0; !r && pass < 5; pass++)
		for (unsigned i = 0; !r && i < u->nmade; i++) {
			r = step(u, u->made[i], pass, err);
			if (r < 0)
				crcore_fail_at(err, -1, -1, "socket %u", u->made[i]->rec->id);
		}
	return r;
}

int udp_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct udp *u = state;
	struct made *m = net_find(u->made, u->nmade, id);
	int fd, r;

	if (!m)
		return net_not_found(id, err);
	if (!u->built) {
		u->built = true;
		r = build(u, err);
		if (r < 0)
			return r;
	}
	if (m->fd < 0)
		return crcore_fail(err, -EBADMSG, "object %u is wanted twice", id);
	fd = m->fd;
	m->fd = -1;
	return fd;
}
