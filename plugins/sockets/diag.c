/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock_diag: all UNIX sockets of the network namespace by one query. It tells
 * what no system call on the socket does: the peer, who waits to be accepted,
 * what was shut down.
 */
#include "sockets.h"
#include "plugins/net/diag.h"

#include <linux/unix_diag.h>

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
	struct graph *g = arg;
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[UNIX_DIAG_MAX + 1];

	if (nlmsg_parse(h, sizeof(struct unix_diag_msg), a, UNIX_DIAG_MAX, NULL) < 0)
		return NL_SKIP;
	if (!GROW(g->v, g->n) || fill(&g->v[g->n++], nlmsg_data(h), a) < 0)
		return -NLE_NOMEM;
	g->waiting |= g->v[g->n - 1].nwaiting > 0;
	return NL_OK;
}

static int by_inode(const void *a, const void *b)
{
	const struct diag *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

int graph_take(struct graph *g, struct crcore_error *err)
{
	const struct unix_diag_req req = {
		.sdiag_family = AF_UNIX,
		.udiag_states = UINT32_MAX,
		.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS |
		              UDIAG_SHOW_RQLEN,
	};
	int r;

	graph_free(g);
	r = net_diag(&req, sizeof(req), on_message, g, "UNIX", "CONFIG_UNIX_DIAG (module unix_diag)",
	             err);
	if (!r && g->n)
		qsort(g->v, g->n, sizeof(*g->v), by_inode);
	return r;
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
