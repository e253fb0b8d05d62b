/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends of connections: addresses with a port, as text, in prefixes, and the
 * address map of a restore elsewhere. A v4-mapped address matches patterns and
 * mappings of IPv4.
 */
#include "plugins/tcp/tcp.h"

#include <arpa/inet.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

void end_from(const struct sockaddr *sa, struct end *ret)
{
	*ret = (struct end){ 0 };
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
		ret->family = AF_INET;
		ret->port = ntohs(in->sin_port);
		memcpy(ret->ip, &in->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
		ret->family = AF_INET6;
		ret->port = ntohs(in6->sin6_port);
		ret->scope = in6->sin6_scope_id;
		memcpy(ret->ip, &in6->sin6_addr, 16);
	}
}

socklen_t end_to(const struct end *e, struct sockaddr_storage *ret)
{
	*ret = (struct sockaddr_storage){ .ss_family = e->family };
	if (e->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->ip, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	in6->sin6_port = htons(e->port);
	in6->sin6_scope_id = e->scope;
	memcpy(&in6->sin6_addr, e->ip, 16);
	return sizeof(*in6);
}

bool end_is_v4(const struct end *e)
{
	return e->family == AF_INET ||
	       (e->family == AF_INET6 && !memcmp(e->ip, mapped, sizeof(mapped)));
}

const uint8_t *end_v4(const struct end *e)
{
	return e->family == AF_INET ? e->ip : e->ip + sizeof(mapped);
}

bool end_any(const struct end *e)
{
	static const uint8_t zero[16];

	return !memcmp(e->ip, zero, sizeof(zero)) || (end_is_v4(e) && !memcmp(end_v4(e), zero, 4));
}

/* v4-mapped and plain addresses of IPv4 are the same to the network. */
static void plain(const struct end *e, struct end *ret)
{
	*ret = (struct end){ .family = AF_INET, .port = e->port };
	if (end_is_v4(e)) {
		memcpy(ret->ip, end_v4(e), 4);
	} else {
		ret->family = e->family;
		memcpy(ret->ip, e->ip, 16);
	}
}

int end_compare(const struct end *a, const struct end *b)
{
	struct end x, y;

	plain(a, &x);
	plain(b, &y);
	return memcmp(&x, &y, sizeof(x));
}

const char *end_text(const struct end *e, char buf[END_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	inet_ntop(e->family, e->ip, ip, sizeof(ip));
	snprintf(buf, END_TEXT, e->family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, e->port);
	return buf;
}

bool end_parse(const char *text, struct end *ret, uint8_t *ret_bits)
{
	char ip[INET6_ADDRSTRLEN + 1], *end;
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long bits;

	*ret = (struct end){ 0 };
	if (len >= sizeof(ip))
		return false;
	memcpy(ip, text, len);
	ip[len] = '\0';
	ret->family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(ret->family, ip, ret->ip) != 1)
		return false;
	bits = ret->family == AF_INET ? 32 : 128;
	if (slash) {
		unsigned long max = bits;
		bits = strtoul(slash + 1, &end, 10);
		if (end == slash + 1 || *end || bits > max)
			return false;
	}
	*ret_bits = (uint8_t)bits;
	return true;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned rest = bits % 8;

	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return !rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest));
}

bool end_within(const struct end *e, const struct end *net, uint8_t bits)
{
	if (net->family == AF_INET)
		return end_is_v4(e) && same_bits(end_v4(e), net->ip, bits);
	return e->family == AF_INET6 && same_bits(e->ip, net->ip, bits);
}

/* -- the address map -------------------------------------------------------------------- */

int map_parse(struct tcp *t, struct crcore_error *err)
{
	const char *const *list = t->host->option(t->ctx, "address-map")->list;
	unsigned n = 0;

	while (list && list[n])
		n += 2;
	t->map = calloc(n / 2 + 1, sizeof(*t->map));
	if (!t->map)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < n; i += 2) {
		struct mapping *m = &t->map[t->nmap];
		uint8_t bits = 0;
		if (!end_parse(list[i], &m->from, &m->bits) || !end_parse(list[i + 1], &m->to, &bits) ||
		    m->from.family != m->to.family || bits != m->bits) {
			crcore_advise(err, "write two addresses, or two prefixes of the same length: "
			              "10.0.0.0/24: 10.0.9.0/24");
			return crcore_fail(err, -EINVAL, "address-map: \"%s: %s\" cannot be understood",
			                   list[i], list[i + 1]);
		}
		t->nmap++;
	}
	return 0;
}

/* The first mapping that fits; what is behind the prefix stays. */
void map_apply(const struct tcp *t, struct end *e)
{
	for (unsigned i = 0; i < t->nmap; i++) {
		const struct mapping *m = &t->map[i];
		uint8_t *ip = m->from.family == AF_INET ? (uint8_t *)(uintptr_t)end_v4(e) : e->ip;
		if (!e->family || !end_within(e, &m->from, m->bits))
			continue;
		for (unsigned b = 0; b < m->bits; b++) {
			uint8_t bit = (uint8_t)(0x80 >> b % 8);
			ip[b / 8] = (uint8_t)((ip[b / 8] & ~bit) | (m->to.ip[b / 8] & bit));
		}
		return;
	}
}
