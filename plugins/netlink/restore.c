/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, whether they make sense, and sockets. */
#include "netlink.h"

static bool sane(const Netlink__Socket *rec)
{
	if (!rec->id || (rec->type != SOCK_RAW && rec->type != SOCK_DGRAM) ||
	    rec->protocol >= MAX_LINKS || !S_ISSOCK(rec->mode))
		return false;
	for (size_t i = 0; i < rec->n_groups; i++)
		if (!rec->groups[i] || rec->groups[i] > GROUPS_MAX)
			return false;
	return true;
}

void made_free(struct made *m)
{
	netlink__socket__free_unpacked(m->rec, NULL);
	free(m);
}

int netlink_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *err)
{
	struct netlink *n = state;
	struct made *m = net_load(&n->made, &n->nmade, sizeof(*m), &netlink__socket__descriptor, msg,
	                          len, err);

	if (!m)
		return err->code;
	return sane(m->rec) ? 0 : crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense",
	                                      m->rec->id);
}

int netlink_check(void *state, struct crcore_error *err)
{
	struct netlink *n = state;

	return net_sort(n->made, n->nmade, err);
}

static int bind_it(int fd, const Netlink__Socket *rec, struct crcore_error *err)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_pid = rec->port };
	struct sockaddr_nl peer = { .nl_family = AF_NETLINK, .nl_pid = rec->peer_port,
		.nl_groups = rec->peer_groups };

	if (rec->port && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0) {
		if (errno == EADDRINUSE)
			crcore_advise(err, "end the process that uses it (ss -f netlink)");
		return crcore_fail(err, -errno, "cannot bind it to port %u: %s", rec->port,
		                   strerror(errno));
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
	if (!r)
		r = net_owner_set(fd, rec->uid, rec->gid, rec->mode, rec->flags);
	return r < 0 ? crcore_fail(err, r, "cannot give it its filter, buffers and owner: %s",
	                           strerror(-r)) : 0;
}

static int make(const Netlink__Socket *rec, struct crcore_error *err)
{
	int fd = socket(AF_NETLINK, (int)rec->type | SOCK_CLOEXEC, (int)rec->protocol), r;

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make a netlink socket of protocol %u: %s",
		                   rec->protocol, strerror(errno));
	r = net_options_set(fd, rec->options, rec->n_options, NET_EARLY, err);
	if (!r)
		r = bind_it(fd, rec, err);
	if (!r)
		r = net_options_set(fd, rec->options, rec->n_options, NET_LATE, err);
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
	const struct made *m = net_find(n->made, n->nmade, id);

	return m ? make(m->rec, err) : net_not_found(id, err);
}
