/* SPDX-License-Identifier: Apache-2.0 */
/* sock_diag: memberships and rings of all packet sockets of the network namespace. */
#include "packet.h"

#include <linux/sock_diag.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

static int on_message(struct nl_msg *msg, void *arg)
{
	struct packet *p = arg;
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[PACKET_DIAG_MAX + 1];
	struct diag *d, *more;

	if (nlmsg_parse(h, sizeof(struct packet_diag_msg), a, PACKET_DIAG_MAX, NULL) < 0)
		return NL_SKIP;
	more = realloc(p->diags, (p->ndiags + 1) * sizeof(*more));
	if (!more)
		return -NLE_NOMEM;
	p->diags = more;
	d = &more[p->ndiags++];
	*d = (struct diag){ .ino = ((struct packet_diag_msg *)nlmsg_data(h))->pdiag_ino };
	d->ring = a[PACKET_DIAG_RX_RING] || a[PACKET_DIAG_TX_RING];
	if (a[PACKET_DIAG_INFO] && nla_len(a[PACKET_DIAG_INFO]) >= (int)sizeof(struct packet_diag_info))
		d->copy_threshold = ((struct packet_diag_info *)nla_data(a[PACKET_DIAG_INFO]))->pdi_copy_thresh;
	if (!a[PACKET_DIAG_MCLIST])
		return NL_OK;
	d->nmembers = (unsigned)nla_len(a[PACKET_DIAG_MCLIST]) / (unsigned)sizeof(*d->members);
	d->members = calloc(d->nmembers + 1, sizeof(*d->members));
	if (!d->members)
		return -NLE_NOMEM;
	memcpy(d->members, nla_data(a[PACKET_DIAG_MCLIST]), d->nmembers * sizeof(*d->members));
	return NL_OK;
}

static int ask(struct nl_sock *sk, struct packet *p)
{
	struct packet_diag_req req = {
		.sdiag_family = AF_PACKET,
		.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG,
	};
	int r = nl_connect(sk, NETLINK_SOCK_DIAG);

	if (!r)
		r = nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_message, p);
	if (!r)
		r = nl_send_simple(sk, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
	return r < 0 ? r : nl_recvmsgs_default(sk);
}

int diag_take(struct packet *p, struct crcore_error *err)
{
	struct nl_sock *sk = nl_socket_alloc();
	int r;

	diag_free(p);
	if (!sk)
		return crcore_fail(err, -ENOMEM, "out of memory");
	r = ask(sk, p);
	nl_socket_free(sk);
	if (r >= 0)
		return 0;
	crcore_advise(err, "the kernel needs CONFIG_PACKET_DIAG (module af_packet_diag)");
	return crcore_fail(err, -EIO, "sock_diag does not list the packet sockets: %s", nl_geterror(r));
}

void diag_free(struct packet *p)
{
	for (unsigned i = 0; i < p->ndiags; i++)
		free(p->diags[i].members);
	free(p->diags);
	p->diags = NULL;
	p->ndiags = 0;
}

const struct diag *diag_find(const struct packet *p, uint32_t ino)
{
	for (unsigned i = 0; i < p->ndiags; i++)
		if (p->diags[i].ino == ino)
			return &p->diags[i];
	return NULL;
}
