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
	if (m->rec)
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

	if ((len != 4 && (len != 16 || rec->family != AF_INET6)) || strlen(g->interface) >= IF_NAMESIZE ||
	    g->n_sources > 1024)
		return false;
	for (size_t i = 0; i < g->n_sources; i++)
		if (g->sources[i].len != len)
			return false;
	return true;
}

static bool good_message(const Udp__Socket *rec, const Udp__Message *m)
{
	return m->length <= MESSAGE_MAX && good_address(rec, &m->from) && m->ttl < 256 && m->tos < 256 &&
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
	    (rec->n_queue && (!rec->bound.len || rec->type != SOCK_DGRAM || !udp_is_datagram(rec->protocol))))
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
	struct made *m;
	void *more;

	if (strcmp(section, "socket") != 0)
		return crcore_fail(err, -EBADMSG, "there is no section %s", section);
	m = calloc(1, sizeof(*m));
	more = realloc(u->made, (u->nmade + 1) * sizeof(*u->made));
	if (more)
		u->made = more;
	if (!m || !more) {
		free(m);
		return crcore_fail(err, -ENOMEM, "out of memory");
	}
	m->fd = -1;
	u->made[u->nmade++] = m;
	m->rec = udp__socket__unpack(NULL, len, msg);
	if (!m->rec)
		return crcore_fail(err, -EBADMSG, "a record of section socket is damaged");
	if (!sane(m->rec))
		return crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense", m->rec->id);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct made *x = *(struct made *const *)a, *y = *(struct made *const *)b;

	return (x->rec->id > y->rec->id) - (x->rec->id < y->rec->id);
}

struct made *udp_made(const struct udp *u, uint32_t id)
{
	Udp__Socket rec = { .id = id };
	struct made key = { .rec = &rec }, *k = &key, **hit;

	hit = u->nmade ? bsearch(&k, u->made, u->nmade, sizeof(*u->made), by_id) : NULL;
	return hit ? *hit : NULL;
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
	for (size_t i = 0; fd >= 0 && !r && i < rec->n_options; i++) {
		const Udp__Option *o = rec->options[i];
		if (net_option_when((int)o->level, (int)o->number) & NET_EARLY)
			net_option_set(fd, (int)o->level, (int)o->number, o->value.data, (uint32_t)o->value.len);
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)(void *)rec->bound.data, (socklen_t)rec->bound.len) < 0)
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
			return crcore_fail(err, -ENODEV, "a multicast group is to be joined on the interface %s, which "
			                   "is not there", rec->groups[i]->interface);
		}
	return 0;
}

int udp_check(void *state, struct crcore_error *err)
{
	struct udp *u = state;
	int r = 0;

	if (u->nmade)
		qsort(u->made, u->nmade, sizeof(*u->made), by_id);
	for (unsigned i = 0; !r && i < u->nmade; i++) {
		if (i && u->made[i - 1]->rec->id == u->made[i]->rec->id)
			return crcore_fail(err, -EBADMSG, "two records are of socket %u", u->made[i]->rec->id);
		r = check_queue(u, u->made[i], err);
		if (!r)
			r = check_address(u->made[i]->rec, err);
		if (!r)
			r = check_groups(u->made[i]->rec, err);
	}
	return r;
}
