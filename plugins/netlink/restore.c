/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, whether they make sense, and sockets. */
#include "netlink.h"

static bool sane(const Netlink__Socket *rec)
{
	if (!rec->id || (rec->type != SOCK_RAW && rec->type != SOCK_DGRAM) || rec->protocol >= MAX_LINKS ||
	    !S_ISSOCK(rec->mode))
		return false;
	for (size_t i = 0; i < rec->n_groups; i++)
		if (!rec->groups[i] || rec->groups[i] > GROUPS_MAX)
			return false;
	return true;
}

int netlink_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *err)
{
	struct netlink *n = state;
	Netlink__Socket **more = realloc(n->made, (n->nmade + 1) * sizeof(*more));

	if (!more)
		return crcore_fail(err, -ENOMEM, "out of memory");
	n->made = more;
	more[n->nmade] = netlink__socket__unpack(NULL, len, msg);
	if (!more[n->nmade])
		return crcore_fail(err, -EBADMSG, "a record of section %s is damaged", section);
	if (!sane(more[n->nmade++]))
		return crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense",
		                   more[n->nmade - 1]->id);
	return 0;
}

static int set_options(int fd, const Netlink__Socket *rec, unsigned when, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_options; i++) {
		const Netlink__Option *o = rec->options[i];
		char name[40];
		int r = 0;
		if (net_option_when((int)o->level, (int)o->number) & when)
			r = net_option_set(fd, (int)o->level, (int)o->number, o->value.data, (uint32_t)o->value.len);
		if (r < 0)
			return crcore_fail(err, r, "cannot set %s: %s",
			                   net_option_name((int)o->level, (int)o->number, name), strerror(-r));
	}
	return 0;
}

static int bind_it(int fd, const Netlink__Socket *rec, struct crcore_error *err)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_pid = rec->port };
	struct sockaddr_nl peer = { .nl_family = AF_NETLINK, .nl_pid = rec->peer_port,
		.nl_groups = rec->peer_groups };

	if (rec->port && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0) {
		if (errno == EADDRINUSE)
			crcore_advise(err, "end the process that uses it (ss -f netlink)");
		return crcore_fail(err, -errno, "cannot bind it to port %u: %s", rec->port, strerror(errno));
	}
	for (size_t i = 0; i < rec->n_groups; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &rec->groups[i], sizeof(int)) < 0)
			return crcore_fail(err, -errno, "cannot join group %u of netlink protocol %u: %s",
			                   rec->groups[i], rec->protocol, strerror(errno));
	if (rec->connected && connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return crcore_fail(err, -errno, "cannot connect it again: %s", strerror(errno));
	return 0;
}

static int finish(int fd, const Netlink__Socket *rec, struct crcore_error *err)
{
	const struct net_buffers buffers = { rec->send_buffer, rec->receive_buffer, rec->buffer_lock };
	int r = net_buffers_set(fd, &buffers);

	if (!r)
		r = net_filter_set(fd, rec->filter, rec->n_filter, rec->filter_locked);
	if (!r && (fchown(fd, rec->uid, rec->gid) < 0 || fchmod(fd, rec->mode & 07777) < 0 ||
	           fcntl(fd, F_SETFL, (int)rec->flags & O_NONBLOCK) < 0))
		r = -errno;
	return r < 0 ? crcore_fail(err, r, "cannot give it its filter, buffers and owner: %s",
	                           strerror(-r)) : 0;
}

static int make(const Netlink__Socket *rec, struct crcore_error *err)
{
	int fd = socket(AF_NETLINK, (int)rec->type | SOCK_CLOEXEC, (int)rec->protocol), r;

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make a netlink socket of protocol %u: %s", rec->protocol,
		                   strerror(errno));
	r = set_options(fd, rec, NET_EARLY, err);
	if (!r)
		r = bind_it(fd, rec, err);
	if (!r)
		r = set_options(fd, rec, NET_LATE, err);
	if (!r)
		r = finish(fd, rec, err);
	if (!r)
		return fd;
	close(fd);
	return r;
}

int netlink_create(void *state, uint32_t id, struct crcore_error *err)
{
	const struct netlink *n = state;

	for (unsigned i = 0; i < n->nmade; i++)
		if (n->made[i]->id == id)
			return make(n->made[i], err);
	return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
}
