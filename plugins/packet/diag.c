/* SPDX-License-Identifier: Apache-2.0 */
/* sock_diag: memberships and rings of all packet sockets of the network namespace. */
#include "packet.h"
#include "plugins/net/diag.h"

static int on_message(struct nl_msg *msg, void *arg)
{
	struct packet *p = arg;
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[PACKET_DIAG_MAX + 1];
	struct diag *d;

	if (nlmsg_parse(h, sizeof(struct packet_diag_msg), a, PACKET_DIAG_MAX, NULL) < 0)
		return NL_SKIP;
	if (!GROW(p->diags, p->ndiags))
		return -NLE_NOMEM;
	d = &p->diags[p->ndiags++];
	*d = (struct diag){ .ino = ((struct packet_diag_msg *)nlmsg_data(h))->pdiag_ino };
	d->has_tx_ring = a[PACKET_DIAG_TX_RING];
	d->has_ring = a[PACKET_DIAG_RX_RING];
	if (d->has_ring)
		nla_memcpy(&d->ring, a[PACKET_DIAG_RX_RING], sizeof(d->ring));
	if (a[PACKET_DIAG_INFO] && nla_len(a[PACKET_DIAG_INFO]) >= (int)sizeof(struct packet_diag_info))
		d->copy_threshold =
			((struct packet_diag_info *)nla_data(a[PACKET_DIAG_INFO]))->pdi_copy_thresh;
	if (!a[PACKET_DIAG_MCLIST])
		return NL_OK;
	d->nmembers = (unsigned)nla_len(a[PACKET_DIAG_MCLIST]) / (unsigned)sizeof(*d->members);
	d->members = calloc(d->nmembers + 1, sizeof(*d->members));
	if (!d->members)
		return -NLE_NOMEM;
	memcpy(d->members, nla_data(a[PACKET_DIAG_MCLIST]), d->nmembers * sizeof(*d->members));
	return NL_OK;
}

int diag_take(struct packet *p, struct crcore_error *err)
{
	const struct packet_diag_req req = {
		.sdiag_family = AF_PACKET,
		.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG,
	};

	diag_free(p);
	return net_diag(&req, sizeof(req), on_message, p, "packet",
	                "CONFIG_PACKET_DIAG (module af_packet_diag)", err);
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

bool diag_has_ring(struct packet *p, uint32_t ino)
{
	const struct diag *d = diag_find(p, ino);
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (!d && diag_take(p, &ignored) == 0)
		d = diag_find(p, ino);
	return d && d->has_ring;
}
