/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, whether they make sense, and sockets. */
#include "packet.h"

static bool good_interface(const char *name)
{
	return strlen(name) < IF_NAMESIZE;
}

static bool sane(const Packet__Socket *rec)
{
	if (!rec->id || (rec->type != SOCK_RAW && rec->type != SOCK_DGRAM) || rec->protocol > 0xffff ||
	    !S_ISSOCK(rec->mode) || !good_interface(rec->interface) || rec->n_members > MEMBERS_MAX)
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

int packet_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *err)
{
	struct packet *p = state;
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

int packet_check(void *state, struct crcore_error *err)
{
	struct packet *p = state;
	int r = net_sort(p->made, p->nmade, err);

	for (unsigned i = 0; !r && i < p->nmade; i++) {
		const Packet__Socket *rec = p->made[i]->rec;
		r = check_interface(rec->interface, err);
		for (size_t k = 0; !r && k < rec->n_members; k++)
			r = check_interface(rec->members[k]->interface, err);
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

static int make(const Packet__Socket *rec, struct crcore_error *err)
{
	int fd = socket(AF_PACKET, (int)rec->type | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make a packet socket: %s", strerror(errno));
	r = net_options_set(fd, rec->options, rec->n_options, NET_EARLY, err);
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

int packet_create(void *state, uint32_t id, struct crcore_error *err)
{
	const struct packet *p = state;
	const struct made *m = net_find(p->made, p->nmade, id);

	return m ? make(m->rec, err) : net_not_found(id, err);
}
