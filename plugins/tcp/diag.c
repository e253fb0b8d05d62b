/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: all TCP sockets of the network namespace by one query of sock_diag, and
 * only where a tree has connections whose other end it does not hold, or
 * connections that nobody has accepted yet. An end that has no inode belongs to
 * no process: it waits to be accepted, or its process has closed it.
 */
#include "plugins/tcp/tcp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>

#define RECEIVE_BUFFER (1 << 20)
#define STATES (~0u & ~(1u << ST_TIME_WAIT) & ~(1u << ST_LISTEN) & ~(1u << ST_CLOSE))

struct taking {
	struct graph *g;
	bool failed;
};

static void end_of(int family, const uint32_t *ip, uint16_t port, uint32_t scope, struct end *ret)
{
	*ret = (struct end){ .family = (uint16_t)family, .port = ntohs(port), .scope = scope };
	memcpy(ret->ip, ip, family == AF_INET ? 4 : 16);
}

static int on_message(struct nl_msg *msg, void *arg)
{
	const struct inet_diag_msg *m = nlmsg_data(nlmsg_hdr(msg));
	struct taking *t = arg;
	struct graph *g = t->g;
	struct other *o;

	if (nlmsg_datalen(nlmsg_hdr(msg)) < (int)sizeof(*m))
		return NL_SKIP;
	if ((g->n & (g->n - 1)) == 0) {
		void *more = realloc(g->v, (g->n ? 2 * (size_t)g->n : 1) * sizeof(*g->v));
		if (!more) {
			t->failed = true;
			return NL_STOP;
		}
		g->v = more;
	}
	o = &g->v[g->n++];
	*o = (struct other){ .ino = m->idiag_inode, .state = m->idiag_state, .received = m->idiag_rqueue };
	end_of(m->idiag_family, m->id.idiag_src, m->id.idiag_sport, 0, &o->local);
	end_of(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport, 0, &o->remote);
	return NL_OK;
}

static int ask(struct nl_sock *sk, int family, struct taking *t)
{
	struct inet_diag_req_v2 req = { .sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP,
		.idiag_states = STATES };
	int r = nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_message, t);

	if (!r)
		r = nl_send_simple(sk, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
	return r < 0 ? r : nl_recvmsgs_default(sk);
}

static int by_tuple(const void *a, const void *b)
{
	const struct other *x = a, *y = b;
	int r = end_compare(&x->local, &y->local);

	return r ? r : end_compare(&x->remote, &y->remote);
}

int graph_take(struct graph *g, struct crcore_error *err)
{
	struct taking t = { .g = g };
	struct nl_sock *sk;
	int r;

	if (g->taken)
		return 0;
	sk = nl_socket_alloc();
	r = sk ? nl_connect(sk, NETLINK_SOCK_DIAG) : -NLE_NOMEM;
	if (!r) {
		nl_socket_set_buffer_size(sk, RECEIVE_BUFFER, 0); /* a wish */
		r = ask(sk, AF_INET, &t);
	}
	if (r >= 0)
		r = ask(sk, AF_INET6, &t);
	nl_socket_free(sk);
	if (t.failed)
		return crcore_fail(err, -ENOMEM, "out of memory");
	if (r < 0) {
		crcore_advise(err, "the kernel needs CONFIG_INET_TCP_DIAG (module tcp_diag)");
		return crcore_fail(err, -EIO, "sock_diag does not list the TCP sockets: %s", nl_geterror(r));
	}
	if (g->n)
		qsort(g->v, g->n, sizeof(*g->v), by_tuple);
	g->taken = true;
	return 0;
}

void graph_free(struct graph *g)
{
	free(g->v);
	free(g->held);
	*g = (struct graph){ 0 };
}

const struct other *graph_find(const struct graph *g, const struct end *local, const struct end *remote)
{
	struct other key = { .local = *local, .remote = *remote };

	return g->n ? bsearch(&key, g->v, g->n, sizeof(key), by_tuple) : NULL;
}

/* -- a tree that still runs ---------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int add_held(struct graph *g, uint32_t ino)
{
	if ((g->nheld & (g->nheld - 1)) == 0) {
		void *more = realloc(g->held, (g->nheld ? 2 * (size_t)g->nheld : 1) * sizeof(*g->held));
		if (!more)
			return -ENOMEM;
		g->held = more;
	}
	g->held[g->nheld++] = ino;
	return 0;
}

static int add_task(struct graph *g, pid_t pid)
{
	char path[40], link[40];
	struct dirent *e;
	unsigned ino;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (!r && d && (e = readdir(d))) {
		ssize_t len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		if (sscanf(link, "socket:[%u]", &ino) == 1)
			r = add_held(g, ino);
	}
	if (d)
		closedir(d);
	return r;
}

int graph_in_tree(struct tcp *t, uint32_t ino, struct crcore_error *err)
{
	const struct crcore_task *task;
	struct graph *g = &t->graph;

	for (uint32_t i = 0; !g->asked && (task = t->host->task(t->ctx, i)); i++)
		if (add_task(g, task->pid) < 0)
			return crcore_fail(err, -ENOMEM, "out of memory");
	if (!g->asked && g->nheld)
		qsort(g->held, g->nheld, sizeof(*g->held), by_value);
	g->asked = true;
	return g->nheld && bsearch(&ino, g->held, g->nheld, sizeof(ino), by_value);
}
