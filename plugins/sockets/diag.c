/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock_diag: all UNIX sockets of the network namespace by one query. It tells
 * what no system call on the socket does: the peer, who waits to be accepted,
 * what was shut down.
 */
#include "sockets.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netlink/netlink.h>
#include <netlink/msg.h>
#include <netlink/attr.h>

#define RECEIVE_BUFFER (1 << 20)

struct taking {
	struct graph *g;
	bool failed;
};

static int copy_waiting(struct diag *d, const struct nlattr *a)
{
	d->nwaiting = (unsigned)nla_len(a) / 4;
	d->waiting = malloc(d->nwaiting ? d->nwaiting * sizeof(*d->waiting) : 1);
	if (!d->waiting)
		return -ENOMEM;
	memcpy(d->waiting, nla_data(a), d->nwaiting * sizeof(*d->waiting));
	return 0;
}

static int fill(struct diag *d, const struct unix_diag_msg *m, struct nlattr **a)
{
	*d = (struct diag){ .ino = m->udiag_ino, .type = m->udiag_type, .state = m->udiag_state };
	if (a[UNIX_DIAG_NAME]) {
		int len = nla_len(a[UNIX_DIAG_NAME]);
		d->name.len = (uint8_t)(len < (int)NAME_MAX_LEN ? len : (int)NAME_MAX_LEN);
		memcpy(d->name.at, nla_data(a[UNIX_DIAG_NAME]), d->name.len);
		if (d->name.at[0]) /* a path may come with its end */
			d->name.len = (uint8_t)strnlen(d->name.at, d->name.len);
	}
	if (a[UNIX_DIAG_VFS] && nla_len(a[UNIX_DIAG_VFS]) >= (int)sizeof(struct unix_diag_vfs)) {
		d->has_file = true;
		d->file_ino = ((struct unix_diag_vfs *)nla_data(a[UNIX_DIAG_VFS]))->udiag_vfs_ino;
	}
	if (a[UNIX_DIAG_PEER]) {
		d->has_peer = true;
		d->peer = nla_get_u32(a[UNIX_DIAG_PEER]);
	}
	if (a[UNIX_DIAG_RQLEN] && nla_len(a[UNIX_DIAG_RQLEN]) >= (int)sizeof(struct unix_diag_rqlen)) {
		const struct unix_diag_rqlen *q = nla_data(a[UNIX_DIAG_RQLEN]);
		d->rqueue = q->udiag_rqueue;
		d->wqueue = q->udiag_wqueue;
	}
	if (a[UNIX_DIAG_SHUTDOWN])
		d->shutdown = nla_get_u8(a[UNIX_DIAG_SHUTDOWN]);
	return a[UNIX_DIAG_ICONS] ? copy_waiting(d, a[UNIX_DIAG_ICONS]) : 0;
}

static int on_message(struct nl_msg *msg, void *arg)
{
	struct taking *t = arg;
	struct graph *g = t->g;
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[UNIX_DIAG_MAX + 1];

	if (nlmsg_parse(h, sizeof(struct unix_diag_msg), a, UNIX_DIAG_MAX, NULL) < 0)
		return NL_SKIP;
	if ((g->n & (g->n - 1)) == 0) {
		void *more = realloc(g->v, (g->n ? 2 * (size_t)g->n : 1) * sizeof(*g->v));
		if (!more) {
			t->failed = true;
			return NL_STOP;
		}
		g->v = more;
	}
	if (fill(&g->v[g->n++], nlmsg_data(h), a) < 0)
		t->failed = true;
	g->waiting |= g->v[g->n - 1].nwaiting > 0;
	return t->failed ? NL_STOP : NL_OK;
}

static int by_inode(const void *a, const void *b)
{
	const struct diag *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

static int ask(struct nl_sock *sk, struct taking *t)
{
	struct unix_diag_req req = {
		.sdiag_family = AF_UNIX,
		.udiag_states = UINT32_MAX,
		.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS |
		              UDIAG_SHOW_RQLEN,
	};
	int r = nl_connect(sk, NETLINK_SOCK_DIAG);

	if (r < 0)
		return r;
	nl_socket_set_buffer_size(sk, RECEIVE_BUFFER, 0); /* a wish */
	r = nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_message, t);
	if (!r)
		r = nl_send_simple(sk, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
	return r < 0 ? r : nl_recvmsgs_default(sk);
}

int graph_take(struct graph *g, struct crcore_error *err)
{
	struct taking t = { .g = g };
	struct nl_sock *sk = nl_socket_alloc();
	int r;

	graph_free(g);
	if (!sk)
		return crcore_fail(err, -ENOMEM, "out of memory");
	r = ask(sk, &t);
	nl_socket_free(sk);
	if (t.failed)
		return crcore_fail(err, -ENOMEM, "out of memory");
	if (r < 0) {
		crcore_advise(err, "the kernel needs CONFIG_UNIX_DIAG (module unix_diag)");
		return crcore_fail(err, -EIO, "sock_diag does not list the UNIX sockets: %s", nl_geterror(r));
	}
	if (g->n)
		qsort(g->v, g->n, sizeof(*g->v), by_inode);
	return 0;
}

void graph_free(struct graph *g)
{
	for (unsigned i = 0; i < g->n; i++)
		free(g->v[i].waiting);
	free(g->v);
	*g = (struct graph){ 0 };
}

const struct diag *graph_find(const struct graph *g, uint32_t ino)
{
	struct diag key = { .ino = ino };

	return g->n ? bsearch(&key, g->v, g->n, sizeof(key), by_inode) : NULL;
}
