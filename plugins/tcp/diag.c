/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: all TCP sockets of the network namespace by one query of sock_diag, and
 * only where a tree has connections whose other end it does not hold, or
 * connections that nobody has accepted yet. An end that has no inode belongs to
 * no process: it waits to be accepted, or its process has closed it.
 */
#include "plugins/net/diag.h"
#include "plugins/tcp/tcp.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>

static void end_of(int family, const uint32_t *ip, uint16_t port, uint32_t scope, struct end *ret)
{
	*ret = (struct end){ .family = (uint16_t)family, .port = ntohs(port), .scope = scope };
	memcpy(ret->ip, ip, family == AF_INET ? 4 : 16);
}

static int on_message(struct nl_msg *msg, void *arg)
{
	const struct inet_diag_msg *m = nlmsg_data(nlmsg_hdr(msg));
	struct graph *g = arg;
	struct other *o;

	if (nlmsg_datalen(nlmsg_hdr(msg)) < (int)sizeof(*m))
		return NL_SKIP;
	if (!GROW(g->v, g->n))
		return -NLE_NOMEM;
	o = &g->v[g->n++];
	*o = (struct other){ .ino = m->idiag_inode, .state = m->idiag_state,
	                     .received = m->idiag_rqueue };
	end_of(m->idiag_family, m->id.idiag_src, m->id.idiag_sport, 0, &o->local);
	end_of(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport, 0, &o->remote);
	return NL_OK;
}

static int ask(struct graph *g, int family, uint32_t states, struct crcore_error *err)
{
	const struct inet_diag_req_v2 req = { .sdiag_family = (uint8_t)family,
		.sdiag_protocol = IPPROTO_TCP, .idiag_states = states };

	return net_diag(&req, sizeof(req), on_message, g, "TCP",
	                "CONFIG_INET_TCP_DIAG (module tcp_diag)", err);
}

static int by_tuple(const void *a, const void *b)
{
	const struct other *x = a, *y = b;
	int r = end_compare(&x->local, &y->local);

	return r ? r : end_compare(&x->remote, &y->remote);
}

int graph_take(struct graph *g, uint32_t states, struct crcore_error *err)
{
	int r = g->taken ? 0 : ask(g, AF_INET, states, err);

	if (!r && !g->taken)
		r = ask(g, AF_INET6, states, err);
	if (!r && !g->taken && g->n)
		qsort(g->v, g->n, sizeof(*g->v), by_tuple);
	g->taken |= !r;
	return r;
}

void graph_free(struct graph *g)
{
	free(g->v);
	net_held_free(&g->held);
	*g = (struct graph){ 0 };
}

const struct other *graph_find(const struct graph *g, const struct end *local,
                               const struct end *remote)
{
	struct other key = { .local = *local, .remote = *remote };

	return g->n ? bsearch(&key, g->v, g->n, sizeof(key), by_tuple) : NULL;
}

int graph_in_tree(struct tcp *t, uint32_t ino, struct crcore_error *err)
{
	int r = net_held_take(&t->graph.held, t->host, t->ctx, err);

	return r < 0 ? r : net_held_has(&t->graph.held, ino);
}
