/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: what each socket is that the plugin has claimed, to whom it is connected, and whether
 * it is one that cannot be saved. Ten calls of the kernel each, so by several threads, when all
 * are claimed. A thread touches its sockets' entries, and nothing that is shared.
 */
#include "plugins/bpf/peek.h"
#include "plugins/net/filter.h"
#include "plugins/net/netns.h"
#include "plugins/tcp/tcp.h"

#include <linux/tcp.h>
#include <poll.h>

#define CHUNK 16 /* sockets */

struct looking {
	struct tcp *t;
	bool many[2]; /* of IPv4, IPv6: their options are to be learned */
};

static int check_plain(const struct tcp *t, const struct known *k, int fd, struct crcore_error *err)
{
	uint64_t netns = t->netns;
	char ulp[16] = "";
	socklen_t len = sizeof(ulp);
	int r = netns_check(fd, &netns, err);

	if (r < 0)
		return r;
	if (k->obj->flags & O_ASYNC) {
		crcore_advise(err, "switch O_ASYNC off before the dump");
		return crcore_fail(err, -ENOTSUP, "it is open with O_ASYNC; its signal owner cannot be "
		                   "saved yet");
	}
	if (getsockopt(fd, IPPROTO_TCP, T_ULP, ulp, &len) == 0 && len && ulp[0]) {
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "the kernel encodes its data (\"%.15s\"), which cannot "
		                   "be saved", ulp);
	}
	return net_filter_check(fd, err);
}

static void note_listening(struct known *k, int fd, const struct tcp_info *info)
{
	k->v6only = k->local.family == AF_INET6 && get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1;
	k->device = get_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX) > 0;
	k->waiting = info->tcpi_unacked;
	k->backlog = info->tcpi_sacked;
}

static int look(struct known *k, int fd, struct crcore_error *err)
{
	struct sockaddr_storage local, remote;
	socklen_t llen = sizeof(local), rlen = sizeof(remote), len = sizeof(struct tcp_info);
	struct pollfd p = { .fd = fd, .events = POLLPRI | POLLRDHUP };
	struct tcp_info info = { 0 };

	if (getsockopt(fd, IPPROTO_TCP, T_INFO, &info, &len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&local, &llen) < 0 || poll(&p, 1, 0) < 0)
		return crcore_fail(err, -errno, "cannot be looked at: %s", strerror(errno));
	k->state = info.tcpi_state;
	k->hung_up = p.revents & POLLRDHUP;
	k->error = p.revents & POLLERR;
	k->was_connected = info.tcpi_rtt || info.tcpi_options; /* measured, agreed on when made */
	end_from((struct sockaddr *)&local, &k->local);
	if (getpeername(fd, (struct sockaddr *)&remote, &rlen) == 0)
		end_from((struct sockaddr *)&remote, &k->remote);
	if (k->state == ST_LISTEN)
		note_listening(k, fd, &info);
	k->sends = state_connected(k->state) && (info.tcpi_unacked || info.tcpi_notsent_bytes);
	if (k->error && k->state != ST_CLOSE) {
		crcore_advise(err, "dump when it has been read");
		return crcore_fail(err, -ENOTSUP, "an error, or a message of its error queue, waits in it");
	}
	return p.revents & POLLPRI ? urgent_supported(err) : 0;
}

static void look_one(struct tcp *t, struct known *k)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	int fd = known_borrow(t, k, &err), r = fd < 0 ? fd : check_plain(t, k, fd, &err);

	if (!r)
		r = look(k, fd, &err);
	known_return(k, fd);
	if (r < 0)
		known_failed(k, &err);
}

/* The first range is begun first, and to learn takes as long as hundreds of looks. */
static void look_range(void *arg, size_t from, size_t to)
{
	const struct looking *l = arg;

	for (int v6 = 0; !from && v6 < 2; v6++)
		if (l->many[v6])
			net_options_many(&l->t->usual, v6 ? AF_INET6 : AF_INET, SOCK_STREAM, IPPROTO_TCP);
	for (size_t i = from; i < to; i++)
		if (l->t->known[i].obj)
			look_one(l->t, &l->t->known[i]);
}

static bool frozen(struct tcp *t)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;

	return CRCORE_HAS(t->host, found) && t->host->found(t->ctx, -1, &unused) > 0;
}

/* How many options will be asked for: while the tree runs there is time to learn of them. */
static void count(struct tcp *t, struct looking *l)
{
	unsigned n[2] = { 0 };

	for (unsigned i = 0; i < t->nknown; i++)
		n[t->known[i].local.family != AF_INET]++;
	for (int v6 = 0; v6 < 2; v6++)
		l->many[v6] = n[v6] >= NET_MANY && !frozen(t);
}

/* By the first that has something to send, for all of them. */
static void prepare_urgent(struct tcp *t)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;

	for (unsigned i = 0; i < t->nknown; i++)
		if (t->known[i].sends) {
			cleanup_close int fd = known_open(t, &t->known[i], &unused);
			if (fd >= 0)
				urgent_prepare(t, fd);
			return;
		}
}

void tcp_look(struct tcp *t)
{
	struct looking l = { .t = t };

	count(t, &l);
	if (!t->netns)
		t->netns = netns_own();
	if (CRCORE_HAS(t->host, parallel))
		t->host->parallel(t->ctx, t->nknown, CHUNK, look_range, &l);
	else
		look_range(&l, 0, t->nknown);
	prepare_urgent(t);
}
