/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: the record of one socket, and what keeps one from being saved. */
#include "netlink.h"

#include <poll.h>
#include <stdio.h>

#define WORD_BITS 32

static uint32_t value_of(int fd, int option)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? 0 : value;
}

/* -- refusals ---------------------------------------------------------------------------------- */

/* Second column of a file of /proc/net/netfilter: who a queue or log group is sent to. */
static bool listed(const char *path, uint32_t port)
{
	FILE *f = fopen(path, "re");
	char line[256];
	uint32_t to;
	bool ret = false;

	while (f && !ret && fgets(line, sizeof(line), f))
		ret = sscanf(line, "%*u %u", &to) == 1 && to == port;
	if (f)
		fclose(f);
	return ret;
}

static int check_subscriptions(int fd, uint32_t protocol, uint32_t port, struct crcore_error *err)
{
	uint32_t groups = 0;
	socklen_t len = 0;

	if (protocol == NETLINK_NETFILTER && (listed("/proc/net/netfilter/nfnetlink_queue", port) ||
	                                      listed("/proc/net/netfilter/nfnetlink_log", port))) {
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "a packet filter queues or logs packets to it, which "
		                   "cannot be saved");
	}
	if (protocol == NETLINK_CONNECTOR &&
	    getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, &groups, &len) == 0 && len) {
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "it listens to a connector of the kernel (process "
		                   "events), whose state cannot be saved");
	}
	return 0;
}

int netlink_check_socket(const struct netlink *n, int fd, struct crcore_error *err)
{
	struct sockaddr_nl own = { 0 };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	socklen_t len = sizeof(own);
	int r = 0;

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return crcore_fail(err, -errno, "cannot ask for its address: %s", strerror(errno));
	if (own.nl_pid)
		r = check_subscriptions(fd, value_of(fd, SO_PROTOCOL), own.nl_pid, err);
	if (r < 0 || n->drop || poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN))
		return r;
	crcore_advise(err, "dump when they have been read, or set netlink.queued to drop");
	return crcore_fail(err, -ENOTSUP, "messages of the kernel wait in it, which cannot be put "
	                   "back");
}

/* -- the record ------------------------------------------------------------ */

static int fill_groups(int fd, Netlink__Socket *rec)
{
	uint32_t bits[GROUPS_MAX / WORD_BITS] = { 0 };
	socklen_t len = sizeof(bits);

	if (getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, bits, &len) < 0)
		return -errno;
	if (len > sizeof(bits))
		return -E2BIG;
	rec->groups = calloc(GROUPS_MAX, sizeof(*rec->groups));
	if (!rec->groups)
		return -ENOMEM;
	for (uint32_t i = 0; i < len * 8; i++)
		if (bits[i / WORD_BITS] >> i % WORD_BITS & 1)
			rec->groups[rec->n_groups++] = i + 1;
	return 0;
}

static int fill_addresses(int fd, Netlink__Socket *rec)
{
	struct sockaddr_nl own = { 0 }, peer = { 0 };
	socklen_t len = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return -errno;
	len = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return -errno;
	rec->port = own.nl_pid;
	rec->connected = peer.nl_pid || peer.nl_groups;
	rec->peer_port = peer.nl_pid;
	rec->peer_groups = peer.nl_groups;
	return fill_groups(fd, rec);
}

static void fill_plain(const struct crcore_object *obj, Netlink__Socket *rec)
{
	struct net_buffers buffers;

	rec->id = obj->id;
	rec->type = value_of(obj->local_fd, SO_TYPE);
	rec->protocol = value_of(obj->local_fd, SO_PROTOCOL);
	rec->flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	rec->mode = obj->st.st_mode;
	rec->uid = obj->st.st_uid;
	rec->gid = obj->st.st_gid;
	net_buffers_read(obj->local_fd, &buffers);
	rec->send_buffer = buffers.send;
	rec->receive_buffer = buffers.receive;
	rec->buffer_lock = buffers.lock;
}

int netlink_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct netlink *n = state;
	Netlink__Socket rec = NETLINK__SOCKET__INIT;
	struct net_value *values = NULL;
	uint64_t *filter = NULL;
	unsigned nvalues = 0;
	bool locked = false;
	int fd = obj->local_fd, r;

	fill_plain(obj, &rec);
	r = fill_addresses(fd, &rec);
	if (!r)
		r = net_options_read(&n->usual, fd, AF_NETLINK, (int)rec.type, (int)rec.protocol, &values,
		                     &nvalues);
	if (r < 0)
		r = crcore_fail(err, r, "cannot read its addresses and options: %s", strerror(-r));
	if (!r)
		r = net_filter_read(fd, &filter, &rec.n_filter, &locked, err);
	rec.filter = filter;
	rec.filter_locked = locked;
	rec.options = r < 0 ? NULL : net_options_list(values, nvalues);
	rec.n_options = nvalues;
	if (!r)
		r = rec.options ? record_put(n->host, n->ctx, "socket", &rec.base, err)
		                : crcore_no_memory(err);
	free(rec.options);
	free(rec.groups);
	free(values);
	free(filter);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
