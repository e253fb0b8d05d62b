/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, and whether they make sense. */
#include "udp.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>

#define MESSAGE_MAX 65507

void made_free(struct made *m)
{
	if (m->fd >= 0)
		close(m->fd);
	udp__socket__free_unpacked(m->rec, NULL);
	free(m);
}

static bool good_address(const Udp__Socket *rec, const ProtobufCBinaryData *a)
{
	struct sockaddr any;

	if (a->len != address_len(rec->family))
		return false;
	memcpy(&any, a->data, sizeof(any));
	return any.sa_family == rec->family;
}

static bool good_group(const Udp__Socket *rec, const Udp__Group *g)
{
	size_t len = g->address.len;

	if ((len != 4 && (len != 16 || rec->family != AF_INET6)) ||
	    strlen(g->interface) >= IF_NAMESIZE || g->n_sources > 1024)
		return false;
	for (size_t i = 0; i < g->n_sources; i++)
		if (g->sources[i].len != len)
			return false;
	return true;
}

static bool good_message(const Udp__Socket *rec, const Udp__Message *m)
{
	return m->length <= MESSAGE_MAX && good_address(rec, &m->from) && m->ttl < 256 &&
	       m->tos < 256 &&
	       (!m->to.len || m->to.len == address_len(AF_INET) || m->to.len == address_len(AF_INET6));
}

static bool good_protocol(const Udp__Socket *rec)
{
	if (rec->type == SOCK_RAW)
		return rec->protocol < 256;
	return rec->type == SOCK_DGRAM &&
	       (udp_is_datagram(rec->protocol) ||
	        rec->protocol == (uint32_t)(rec->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6));
}

static bool sane(const Udp__Socket *rec)
{
	if (!rec->id || (rec->family != AF_INET && rec->family != AF_INET6) || !good_protocol(rec) ||
	    !S_ISSOCK(rec->mode) || rec->shutdown > 3 || rec->blob > INT64_MAX ||
	    (rec->n_queue &&
	     (!rec->bound.len || rec->type != SOCK_DGRAM || !udp_is_datagram(rec->protocol))))
		return false;
	if ((rec->bound.len && !good_address(rec, &rec->bound)) ||
	    (rec->peer.len && !good_address(rec, &rec->peer)))
		return false;
	for (size_t i = 0; i < rec->n_groups; i++)
		if (!good_group(rec, rec->groups[i]))
			return false;
	for (size_t i = 0; i < rec->n_queue; i++)
		if (!good_message(rec, rec->queue[i]))
			return false;
	return true;
}

int udp_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *err)
{
	struct udp *u = state;
	struct made *m = net_load(&u->made, &u->nmade, sizeof(*m), &udp__socket__descriptor, msg, len,
	                          err);

	if (!m)
		return err->code;
	m->fd = -1;
	return sane(m->rec) ? 0 : crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense",
	                                      m->rec->id);
}

static int check_queue(struct udp *u, const struct made *m, struct crcore_error *err)
{
	uint64_t end = m->rec->blob;
	struct stat st;
	int blob;

	for (size_t i = 0; i < m->rec->n_queue; i++)
		end += m->rec->queue[i]->length;
	if (end == m->rec->blob)
		return 0;
	blob = u->host->blob(u->ctx, "socket", err);
	if (blob < 0)
		return blob;
	if (fstat(blob, &st) < 0 || end > (uint64_t)st.st_size)
		return crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
	return 0;
}

#define TEXT (INET6_ADDRSTRLEN + 16)

static const char *address_text(const ProtobufCBinaryData *a, char text[TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?";
	union address at = { 0 };

	memcpy(&at, a->data, a->len < sizeof(at) ? a->len : sizeof(at));
	if (at.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &at.v4.sin_addr, host, sizeof(host));
	else
		inet_ntop(AF_INET6, &at.v6.sin6_addr, host, sizeof(host));
	snprintf(text, TEXT, "%s port %u", host, ntohs(at.v4.sin_port)); /* at the same place in both */
	return text;
}

/* Whether it could be bound now: a socket of the same sort tries it. */
static int check_address(const Udp__Socket *rec, struct crcore_error *err)
{
	cleanup_close int fd = -1;
	char text[TEXT];
	int one = 1, r = 0;

	if (!rec->bound.len || rec->type != SOCK_DGRAM || !udp_is_datagram(rec->protocol))
		return 0;
	fd = socket((int)rec->family, SOCK_DGRAM | SOCK_CLOEXEC, (int)rec->protocol);
	if (fd >= 0)
		net_options_set(fd, rec->options, rec->n_options, NET_EARLY, NULL);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)(void *)rec->bound.data, (socklen_t)rec->bound.len) < 0)
		r = -errno;
	if (r == -EADDRINUSE)
		crcore_advise(err, "end the process that uses it (ss -anp)");
	else if (r == -EADDRNOTAVAIL)
		crcore_advise(err, "give an interface the address that it had");
	return r < 0 ? crcore_fail(err, r, "a %s socket cannot be bound to %s: %s",
	                           udp_name(rec->type, rec->protocol), address_text(&rec->bound, text),
	                           strerror(-r)) : 0;
}

static int check_groups(const Udp__Socket *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_groups; i++)
		if (!if_nametoindex(rec->groups[i]->interface)) {
			crcore_advise(err, "set up the interface %s", rec->groups[i]->interface);
			return crcore_fail(err, -ENODEV, "a multicast group is to be joined on the interface "
			                   "%s, which is not there", rec->groups[i]->interface);
		}
	return 0;
}

int udp_check(void *state, struct crcore_error *err)
{
	struct udp *u = state;
	int r = net_sort(u->made, u->nmade, err);

	for (unsigned i = 0; !r && i < u->nmade; i++) {
		r = check_queue(u, u->made[i], err);
		if (!r)
			r = check_address(u->made[i]->rec, err);
		if (!r)
			r = check_groups(u->made[i]->rec, err);
	}
	return r;
}
