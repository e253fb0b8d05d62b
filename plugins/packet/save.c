/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: the record of one socket, and what keeps one from being saved. */
#include "packet.h"

#include <poll.h>
#include <sys/mman.h>

#define FANOUT_CBPF 6
#define FANOUT_EBPF 7
#define FANOUT_UNIQUE (0x2000u << 16)

static uint32_t value_of(int fd, int level, int option)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) < 0 ? 0 : value;
}

/* -- refusals ---------------------------------------------------------------------------------- */

int packet_check_socket(struct packet *p, const struct crcore_object *obj, struct crcore_error *err)
{
	const int fd = obj->local_fd;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	uint32_t how = value_of(fd, SOL_PACKET, PACKET_FANOUT) >> 16 & 0xff;

	if (how == FANOUT_CBPF || how == FANOUT_EBPF) {
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "it is of a group that a program chooses from "
		                   "(PACKET_FANOUT), which the kernel does not give back");
	}
	if (value_of(fd, SOL_SOCKET, SO_TYPE) == SOCK_PACKET) {
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "it is of the obsolete type SOCK_PACKET, which cannot be "
		                   "saved");
	}
	if (p->drop || poll(&poll_fd, 1, 0) <= 0 || !(poll_fd.revents & POLLIN) ||
	    diag_has_ring(p, (uint32_t)obj->st.st_ino)) /* those in a ring are kept */
		return 0;
	crcore_advise(err, "dump when they have been read, or set packet.queued to drop");
	return crcore_fail(err, -ENOTSUP, "frames wait in it, which cannot be put back");
}

/* More than a restore takes of any image. */
static int check_members(const struct diag *d, struct crcore_error *err)
{
	bool many = d->nmembers > MEMBERS_MAX;

	for (unsigned i = 0; i < d->nmembers; i++)
		many |= d->members[i].pdmc_count > MEMBERS_MAX;
	if (!many)
		return 0;
	crcore_advise(err, "have the program give them up (PACKET_DROP_MEMBERSHIP)");
	return crcore_fail(err, -ENOTSUP, "it has more than %d memberships", MEMBERS_MAX);
}

/* The socket that a ring is of; NULL: no task has it any more. */
static const struct crcore_object *socket_of(const struct packet *p,
                                             const struct crcore_object *obj)
{
	const struct crcore_object *o;

	for (uint32_t i = 0; (o = p->host->object(p->ctx, i)); i++)
		if (o->class_ == CRCORE_DESCRIPTION && o->st.st_ino == obj->st.st_ino)
			return o;
	return NULL;
}

/* The kernel maps a ring whole, or not at all. */
static int check_mapping(const struct packet *p, const struct crcore_object *obj,
                         const struct diag *d, struct crcore_error *err)
{
	const uint64_t len = (uint64_t)d->ring.pdr_block_size * d->ring.pdr_block_nr;

	if (obj->end - obj->start == len && socket_of(p, obj))
		return 0;
	crcore_advise(err, "close it before the dump");
	return crcore_fail(err, -ENOTSUP, obj->end - obj->start == len ?
	                   "a ring is mapped of which the socket was closed" :
	                   "only a part of its ring is mapped");
}

int packet_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct packet *p = state;
	const struct diag *d;
	int r = obj == p->host->object(p->ctx, 0) ? diag_take(p, err) : 0;

	if (r < 0)
		return r;
	d = diag_find(p, (uint32_t)obj->st.st_ino);
	if (!d)
		return crcore_fail(err, -EAGAIN, "the tree changes while it is looked at");
	crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	if (obj->class_ == CRCORE_FILE)
		return check_mapping(p, obj, d, err);
	if (!d->has_tx_ring)
		return check_members(d, err);
	crcore_advise(err, "have the program send without a ring");
	return crcore_fail(err, -ENOTSUP, "it has a ring to send with (PACKET_TX_RING), which "
	                   "cannot be saved");
}

/* -- the record ------------------------------------------------------------ */

static int fill_members(const struct diag *d, Packet__Socket *rec, char (*names)[IF_NAMESIZE])
{
	for (unsigned i = 0; i < d->nmembers; i++) {
		const struct packet_diag_mclist *from = &d->members[i];
		Packet__Member *m = malloc(sizeof(*m));
		if (!m)
			return -ENOMEM;
		packet__member__init(m);
		rec->members[rec->n_members++] = m;
		m->interface = if_indextoname(from->pdmc_index, names[i]);
		if (!m->interface)
			return -errno;
		m->type = from->pdmc_type;
		m->count = from->pdmc_count;
		m->address.len = from->pdmc_alen < ADDRESS_MAX ? from->pdmc_alen : ADDRESS_MAX;
		m->address.data = (uint8_t *)(uintptr_t)from->pdmc_addr;
	}
	return 0;
}

static int fill_plain(const struct crcore_object *obj, Packet__Socket *rec, char name[IF_NAMESIZE])
{
	struct net_buffers buffers;
	struct sockaddr_ll own = { 0 };
	socklen_t len = sizeof(own);
	int fd = obj->local_fd;

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return -errno;
	rec->id = obj->id;
	rec->type = value_of(fd, SOL_SOCKET, SO_TYPE);
	rec->protocol = own.sll_protocol;
	if (own.sll_ifindex && !(rec->interface = if_indextoname((unsigned)own.sll_ifindex, name)))
		return -errno;
	rec->fanout = value_of(fd, SOL_PACKET, PACKET_FANOUT) & ~FANOUT_UNIQUE;
	rec->flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	rec->mode = obj->st.st_mode;
	rec->uid = obj->st.st_uid;
	rec->gid = obj->st.st_gid;
	net_buffers_read(fd, &buffers);
	rec->send_buffer = buffers.send;
	rec->receive_buffer = buffers.receive;
	rec->buffer_lock = buffers.lock;
	return 0;
}

/* -- the ring --------------------------------------------------------------- */

static int fill_ring(struct packet *p, int fd, const struct diag *d, Packet__Ring *rec,
                     struct crcore_error *err)
{
	const struct packet_diag_ring *q = &d->ring;
	cleanup_free char *bytes = NULL;
	struct ring live;

	rec->version = value_of(fd, SOL_PACKET, PACKET_VERSION);
	rec->block_size = q->pdr_block_size;
	rec->blocks = q->pdr_block_nr;
	rec->frame_size = q->pdr_frame_size;
	rec->frames = q->pdr_frame_nr;
	rec->timeout = q->pdr_retire_tmo;
	rec->private_size = q->pdr_sizeof_priv;
	rec->features = q->pdr_features;
	rec->data = p->blob_end;
	if (!ring_is_sane(rec))
		return crcore_fail(err, -ENOTSUP, "its ring is of a shape that is not known");
	int r = ring_map(&live, rec, fd, PROT_READ, err);
	if (r < 0)
		return r;
	r = ring_take(&live, p->drop, &bytes, err);
	ring_unmap(&live);
	int blob = r < 0 ? r : p->host->blob(p->ctx, "socket", err);
	if (blob < 0)
		return blob;
	if ((r = write_all(blob, bytes, live.len)) < 0)
		return crcore_fail(err, r, "its ring cannot be written: %s", strerror(-r));
	p->blob_end += live.len;
	return 0;
}

static int save(struct packet *p, const struct crcore_object *obj, const struct diag *d,
                Packet__Socket *rec, struct crcore_error *err)
{
	cleanup_free char (*names)[IF_NAMESIZE] = calloc(d->nmembers + 1, sizeof(*names));
	cleanup_free Packet__Member **members = calloc(d->nmembers + 1, sizeof(*members));
	cleanup_free struct net_value *values = NULL;
	cleanup_free Net__Option **options = NULL;
	cleanup_free uint64_t *filter = NULL;
	Packet__Ring ring = PACKET__RING__INIT;
	bool locked = false;
	unsigned n = 0;
	int r = names && members ? fill_plain(obj, rec, names[d->nmembers]) : -ENOMEM;

	rec->members = members;
	rec->copy_threshold = d->copy_threshold;
	if (!r)
		r = fill_members(d, rec, names);
	if (!r)
		r = net_options_read(&p->usual, obj->local_fd, AF_PACKET, (int)rec->type, 0, &values, &n);
	if (r < 0)
		crcore_fail(err, r, "cannot read its interface, groups and options: %s", strerror(-r));
	if (!r)
		r = net_filter_read(obj->local_fd, &filter, &rec->n_filter, &locked, err);
	if (!r && d->has_ring) {
		r = fill_ring(p, obj->local_fd, d, &ring, err);
		rec->ring = &ring;
	}
	rec->filter = filter;
	rec->filter_locked = locked;
	rec->options = options = r < 0 ? NULL : net_options_list(values, n);
	rec->n_options = n;
	if (!r)
		r = options ? record_put(p->host, p->ctx, "socket", &rec->base, err)
		            : crcore_no_memory(err);
	for (size_t i = 0; i < rec->n_members; i++)
		free(members[i]);
	return r;
}

static int save_mapping(struct packet *p, const struct crcore_object *obj, struct crcore_error *err)
{
	const struct crcore_object *owner = socket_of(p, obj);
	Packet__Mapping rec = PACKET__MAPPING__INIT;

	if (!owner)
		return crcore_fail(err, -EINVAL, "the socket of this ring was not there before");
	rec.id = obj->id;
	rec.socket = owner->id;
	return record_put(p->host, p->ctx, "mapping", &rec.base, err);
}

int packet_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct packet *p = state;
	const struct diag *d = diag_find(p, (uint32_t)obj->st.st_ino);
	Packet__Socket rec = PACKET__SOCKET__INIT;
	int r;

	if (obj->class_ == CRCORE_FILE)
		r = save_mapping(p, obj, err);
	else if (d)
		r = save(p, obj, d, &rec, err);
	else
		r = crcore_fail(err, -EINVAL, "this socket was not there when the tree was looked at");
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
