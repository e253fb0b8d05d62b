/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: the record of one socket. */
#include "udp.h"

#include <inttypes.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

#define DRAIN_TRIES 50 /* of a millisecond, for what a device has not sent yet */

static uint32_t value_of(int fd, int option)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? 0 : value;
}

/* -- names ------------------------------------------------------------------------------------ */

static in_port_t port_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port;
}

static bool any_address(const union address *a)
{
	return a->any.sa_family == AF_INET ? a->v4.sin_addr.s_addr == INADDR_ANY
	                                   : IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

static int hex_address(const char *hex, union address *a)
{
	uint32_t word;

	for (unsigned i = 0; i < 4; i++, hex += 8) {
		if (sscanf(hex, "%8" SCNx32, &word) != 1)
			return -EBADMSG;
		if (a->any.sa_family == AF_INET) {
			a->v4.sin_addr.s_addr = word;
			return 0;
		}
		memcpy((char *)&a->v6.sin6_addr + 4 * i, &word, 4);
	}
	return 0;
}

/* A peer without a port, as raw sockets have, is told by /proc alone. */
static int peer_in_proc(const struct crcore_object *obj, const Udp__Socket *rec, union address *ret)
{
	const char *v6 = rec->family == AF_INET6 ? "6" : "";
	char path[64], line[512], hex[40];
	unsigned state;
	ino_t ino;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/net/%s%s", rec->type == SOCK_RAW ? "raw" : "icmp", v6);
	f = fopen(path, "re");
	ret->any.sa_family = (sa_family_t)rec->family;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %*[^:]:%*s %39[^:]:%*s %x %*s %*s %*s %*s %*s %lu", hex, &state,
		           &ino) != 3 || ino != obj->st.st_ino)
			continue;
		fclose(f);
		return state == 1 ? hex_address(hex, ret) : -ENOTCONN;
	}
	if (f)
		fclose(f);
	return -ENOTCONN;
}

static int fill_names(const struct crcore_object *obj, Udp__Socket *rec, union address *bound,
                      union address *peer, struct crcore_error *err)
{
	socklen_t len = sizeof(*bound);
	int r = 0;

	if (getsockname(obj->local_fd, &bound->any, &len) < 0)
		return crcore_fail(err, -errno, "cannot ask for its address: %s", strerror(errno));
	len = sizeof(*peer);
	if (getpeername(obj->local_fd, &peer->any, &len) < 0)
		r = udp_is_datagram(rec->protocol) ? -ENOTCONN : peer_in_proc(obj, rec, peer);
	if (rec->type == SOCK_RAW ? !any_address(bound) : port_of(bound) || !any_address(bound))
		rec->bound = (ProtobufCBinaryData){ address_len(rec->family), (uint8_t *)bound };
	if (!r)
		rec->peer = (ProtobufCBinaryData){ address_len(rec->family), (uint8_t *)peer };
	return 0;
}

/* -- what is not sent yet ---------------------------------------------------------------------- */

static int unsent(int fd)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int bytes = 0;

	for (unsigned i = 0; i < DRAIN_TRIES; i++) {
		if (ioctl(fd, SIOCOUTQ, &bytes) < 0 || !bytes)
			return 0;
		nanosleep(&pause, NULL);
	}
	return bytes;
}

static int check_corked(struct udp *u, int fd, const Udp__Socket *rec, struct crcore_error *err)
{
	if (!udp_is_datagram(rec->protocol) || rec->type != SOCK_DGRAM || !unsent(fd))
		return 0;
	if (u->corked == CORKED_DROP) {
		u->host->log(u->ctx, 1, "a datagram that is begun and not yet sent is dropped "
		             "(udp.corked)");
		return 0;
	}
	crcore_advise(err, "dump when it has been sent, or set udp.corked to drop");
	return crcore_fail(err, -ENOTSUP, "a datagram is begun in it (UDP_CORK, MSG_MORE), which the "
	                   "kernel does not show");
}

/* -- the record ------------------------------------------------------------ */

static void fill_plain(const struct crcore_object *obj, Udp__Socket *rec)
{
	rec->id = obj->id;
	rec->family = value_of(obj->local_fd, SO_DOMAIN);
	rec->type = value_of(obj->local_fd, SO_TYPE);
	rec->protocol = value_of(obj->local_fd, SO_PROTOCOL);
	rec->flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	rec->mode = obj->st.st_mode;
	rec->uid = obj->st.st_uid;
	rec->gid = obj->st.st_gid;
}

/* What a record refers to, as long as it is written. */
struct borrowed {
	union address bound, peer;
	struct net_value *values;
	uint64_t *filter;
};

static int fill_options(struct udp *u, int fd, Udp__Socket *rec, struct borrowed *b,
                        struct crcore_error *err)
{
	struct net_buffers buffers;
	unsigned n = 0;
	int r = net_options_read(&u->usual, fd, (int)rec->family, (int)rec->type, (int)rec->protocol,
	                         &b->values, &n);

	if (r < 0)
		return crcore_fail(err, r, "cannot read its options: %s", strerror(-r));
	rec->options = net_options_list(b->values, n);
	if (!rec->options)
		return crcore_no_memory(err);
	rec->n_options = n;
	net_buffers_read(fd, &buffers);
	rec->send_buffer = buffers.send;
	rec->receive_buffer = buffers.receive;
	rec->buffer_lock = buffers.lock;
	return 0;
}

static int fill_filter(int fd, Udp__Socket *rec, struct borrowed *b, struct crcore_error *err)
{
	bool locked = false;
	int r = net_filter_read(fd, &b->filter, &rec->n_filter, &locked, err);

	rec->filter = b->filter;
	rec->filter_locked = locked;
	return r;
}

int udp_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct udp *u = state;
	Udp__Socket rec = UDP__SOCKET__INIT;
	struct borrowed b = { 0 };
	int fd = obj->local_fd, r;

	fill_plain(obj, &rec);
	r = fill_names(obj, &rec, &b.bound, &b.peer, err);
	if (!r)
		r = check_corked(u, fd, &rec, err);
	if (!r)
		r = fill_options(u, fd, &rec, &b, err);
	if (!r)
		r = fill_filter(fd, &rec, &b, err);
	if (!r)
		r = groups_save(u, fd, &rec, err);
	if (!r)
		r = queue_save(u, fd, &rec, err);
	if (!r)
		r = record_put(u->host, u->ctx, "socket", &rec.base, err);
	queue_free(&rec);
	groups_free(&rec);
	free(rec.options);
	free(b.values);
	free(b.filter);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
