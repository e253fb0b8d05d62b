/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, whether they make sense, and sockets. */
#include "packet.h"

#include <sys/mman.h>

static bool good_interface(const char *name)
{
	return strlen(name) < IF_NAMESIZE;
}

static bool sane(const Packet__Socket *rec)
{
	if (!rec->id || (rec->type != SOCK_RAW && rec->type != SOCK_DGRAM) || rec->protocol > 0xffff ||
	    !S_ISSOCK(rec->mode) || !good_interface(rec->interface) || rec->n_members > MEMBERS_MAX)
		return false;
	/* without a protocol it never received anything */
	if (rec->ring && (!ring_is_sane(rec->ring) || (rec->ring->position && !rec->protocol)))
		return false;
	for (size_t i = 0; i < rec->n_members; i++) {
		const Packet__Member *m = rec->members[i];
		if (!m->interface[0] || !good_interface(m->interface) || m->type > 0xffff ||
		    m->address.len > ADDRESS_MAX || m->count > MEMBERS_MAX)
			return false;
	}
	return true;
}

void made_free(struct made *m)
{
	packet__socket__free_unpacked(m->rec, NULL);
	free(m);
}

static int load_mapping(struct packet *p, const void *msg, size_t len, struct crcore_error *err)
{
	Packet__Mapping *rec = packet__mapping__unpack(NULL, len, msg);
	bool ok = rec && rec->id && rec->socket;

	if (ok && (ok = GROW(p->mapped, p->nmapped)))
		p->mapped[p->nmapped++] = (struct mapped){ rec->id, rec->socket };
	packet__mapping__free_unpacked(rec, NULL);
	return ok ? 0 : crcore_fail(err, -EBADMSG, "a record of section mapping makes no sense");
}

int packet_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *err)
{
	struct packet *p = state;
	if (!strcmp(section, "mapping"))
		return load_mapping(p, msg, len, err);
	struct made *m = net_load(&p->made, &p->nmade, sizeof(*m), &packet__socket__descriptor, msg,
	                          len, err);

	if (!m)
		return err->code;
	return sane(m->rec) ? 0 : crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense",
	                                      m->rec->id);
}

static int check_interface(const char *name, struct crcore_error *err)
{
	if (!name[0] || if_nametoindex(name))
		return 0;
	crcore_advise(err, "set up the interface %s", name);
	return crcore_fail(err, -ENODEV, "a packet socket needs the interface %s, which is not there",
	                   name);
}

static int check_ring(const struct packet *p, const Packet__Socket *rec, struct crcore_error *err)
{
	struct stat st = { 0 };
	int blob = p->host->blob(p->ctx, "socket", err);

	if (blob < 0)
		return blob;
	if (fstat(blob, &st) == 0 && rec->ring->data <= (uint64_t)st.st_size &&
	    ring_length(rec->ring) <= (uint64_t)st.st_size - rec->ring->data)
		return 0;
	return crcore_fail(err, -EBADMSG, "the ring of socket %u is cut off", rec->id);
}

int packet_check(void *state, struct crcore_error *err)
{
	struct packet *p = state;
	int r = net_sort(p->made, p->nmade, err);

	for (unsigned i = 0; !r && i < p->nmade; i++) {
		const Packet__Socket *rec = p->made[i]->rec;
		r = check_interface(rec->interface, err);
		for (size_t k = 0; !r && k < rec->n_members; k++)
			r = check_interface(rec->members[k]->interface, err);
		if (!r && rec->ring)
			r = check_ring(p, rec, err);
	}
	return r;
}

static int join(int fd, const Packet__Member *m)
{
	struct { /* struct packet_mreq with room for long addresses */
		int index;
		unsigned short type, len;
		unsigned char address[ADDRESS_MAX];
	} q = { (int)if_nametoindex(m->interface), (unsigned short)m->type,
		(unsigned short)m->address.len, { 0 } };

	memcpy(q.address, m->address.data, m->address.len);
	for (uint32_t i = 0; i < m->count; i++)
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &q, sizeof(q)) < 0)
			return -errno;
	return 0;
}

/* With its filter and groups, and only then does it begin to receive. */
static int attach(int fd, const Packet__Socket *rec, struct crcore_error *err)
{
	struct sockaddr_ll own = { .sll_family = AF_PACKET,
		                       .sll_protocol = (unsigned short)rec->protocol };
	const struct net_buffers buffers = { rec->send_buffer, rec->receive_buffer, rec->buffer_lock };
	int r = net_filter_set(fd, rec->filter, rec->n_filter, rec->filter_locked);

	if (!r)
		r = net_buffers_set(fd, &buffers);
	if (!r && rec->copy_threshold &&
	    setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &rec->copy_threshold, sizeof(int)) < 0)
		r = -errno;
	for (size_t i = 0; !r && i < rec->n_members; i++)
		r = join(fd, rec->members[i]);
	if (r < 0)
		return crcore_fail(err, r, "cannot give it its filter, buffers and groups: %s",
		                   strerror(-r));
	own.sll_ifindex = rec->interface[0] ? (int)if_nametoindex(rec->interface) : 0;
	if ((rec->protocol || own.sll_ifindex) && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return crcore_fail(err, -errno, "cannot bind it to interface \"%s\": %s", rec->interface,
		                   strerror(errno));
	if (rec->fanout && setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &rec->fanout, sizeof(int)) < 0)
		return crcore_fail(err, -errno, "cannot join the fanout group %u: %s", rec->fanout & 0xffff,
		                   strerror(errno));
	return 0;
}

/* Before its filter and the options that count what comes. */
static int give_ring(const struct packet *p, int fd, const Packet__Socket *rec,
                     struct crcore_error *err)
{
	const Packet__Ring *ring = rec->ring;
	int blob = ring ? p->host->blob(p->ctx, "socket", err) : 0;

	if (!ring || blob < 0)
		return blob;
	size_t len = ring_length(ring), skip = ring->data % PAGE;
	char *bytes = mmap(NULL, len + skip, PROT_READ, MAP_PRIVATE, blob, (off_t)(ring->data - skip));
	if (bytes == MAP_FAILED)
		return crcore_fail(err, -errno, "the contents of its ring cannot be read: %s",
		                   strerror(errno));
	int r = ring_make(fd, rec->ring, bytes + skip, err);
	munmap(bytes, len + skip);
	return r;
}

static int make(const struct packet *p, const Packet__Socket *rec, struct crcore_error *err)
{
	int fd = socket(AF_PACKET, (int)rec->type | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make a packet socket: %s", strerror(errno));
	r = net_options_set(fd, rec->options, rec->n_options, NET_EARLY, err);
	if (!r)
		r = give_ring(p, fd, rec, err);
	if (!r)
		r = attach(fd, rec, err);
	if (!r)
		r = net_options_set(fd, rec->options, rec->n_options, NET_LATE, err);
	if (!r && (r = net_owner_set(fd, rec->uid, rec->gid, rec->mode, rec->flags)) < 0)
		crcore_fail(err, r, "cannot give it its owner: %s", strerror(-r));
	if (!r)
		return fd;
	close(fd);
	return r;
}

/* The socket of a ring that is mapped; 0: that is no mapping. */
static uint32_t owner_of(const struct packet *p, uint32_t id)
{
	for (unsigned i = 0; i < p->nmapped; i++)
		if (p->mapped[i].id == id)
			return p->mapped[i].socket;
	return 0;
}

int packet_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max,
                struct crcore_error *err)
{
	const uint32_t owner = owner_of(state, id);

	if (owner && max)
		ret_needs[0] = owner;
	return owner != 0;
}

int packet_create(void *state, uint32_t id, struct crcore_error *err)
{
	const struct packet *p = state;
	const struct made *m = net_find(p->made, p->nmade, id);
	const uint32_t owner = owner_of(p, id);
	int fd = owner ? p->host->need(p->ctx, owner, err) : -1;

	if (!owner)
		return m ? make(p, m->rec, err) : net_not_found(id, err);
	if (fd >= 0 && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		return crcore_fail(err, -errno, "cannot duplicate a descriptor: %s", strerror(errno));
	return fd;
}
