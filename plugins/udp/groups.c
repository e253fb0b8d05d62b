/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multicast memberships. The kernel lists the groups of an interface, but not
 * of which sockets; asked about one group and interface, a socket tells its
 * filter of sources if it is a member. So all that the network namespace has
 * is asked of each socket.
 */
#include "udp.h"

#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define MAX_SOURCES 1024

/* -- groups of the namespace ---------------------------------------------------------------- */

static int add(struct udp *u, uint32_t index, int family, const void *at, size_t len)
{
	struct interface_group *more = realloc(u->groups, (u->ngroups + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	u->groups = more;
	more[u->ngroups] = (struct interface_group){ .index = index, .family = family };
	memcpy(more[u->ngroups++].at, at, len);
	return 0;
}

/* "2 eth0 : 1 V3" and then lines of "010000E0 1 0:00000000 0", with more white space */
static int read_v4(struct udp *u)
{
	FILE *f = fopen("/proc/self/net/igmp", "re");
	uint32_t index = 0, group;
	char line[256];
	int r = 0;

	while (!r && f && fgets(line, sizeof(line), f)) {
		if (line[0] != '\t')
			index = (uint32_t)strtoul(line, NULL, 10);
		else if (sscanf(line, "%x", &group) == 1)
			r = add(u, index, AF_INET, &group, 4);
	}
	if (f)
		fclose(f);
	return r;
}

/* "2    eth0            ff020000000000000000000000000001     1 0000000C 0" */
static int read_v6(struct udp *u)
{
	FILE *f = fopen("/proc/self/net/igmp6", "re");
	char line[256], hex[33];
	uint32_t index;
	int r = 0;

	while (!r && f && fgets(line, sizeof(line), f)) {
		uint8_t at[16];
		if (sscanf(line, "%u %*s %32s", &index, hex) != 2 || strlen(hex) != 32)
			continue;
		for (unsigned i = 0; i < 16; i++) {
			char two[3] = { hex[2 * i], hex[2 * i + 1] };
			at[i] = (uint8_t)strtoul(two, NULL, 16);
		}
		r = add(u, index, AF_INET6, at, 16);
	}
	if (f)
		fclose(f);
	return r;
}

/* -- dump -------------------------------------------------------------------------------------- */

static void put_group(struct sockaddr_storage *ret, int family, const void *at)
{
	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)family;
	if (family == AF_INET)
		memcpy(&((struct sockaddr_in *)ret)->sin_addr, at, 4);
	else
		memcpy(&((struct sockaddr_in6 *)ret)->sin6_addr, at, 16);
}

static const void *bytes_of(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return &((const struct sockaddr_in *)(const void *)a)->sin_addr;
	return &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
}

/* 1: a member, 0: not. */
static int ask(int fd, const struct interface_group *g, struct group_filter *f)
{
	socklen_t len = GROUP_FILTER_SIZE(MAX_SOURCES);

	memset(f, 0, sizeof(*f));
	f->gf_interface = g->index;
	f->gf_numsrc = MAX_SOURCES;
	put_group(&f->gf_group, g->family, g->at);
	if (getsockopt(fd, g->family == AF_INET ? SOL_IP : SOL_IPV6, MCAST_MSFILTER, f, &len) < 0)
		return errno == EADDRNOTAVAIL || errno == EINVAL || errno == ENOPROTOOPT ? 0 : -errno;
	return f->gf_numsrc > MAX_SOURCES ? -E2BIG : 1;
}

static int keep(Udp__Socket *rec, const struct interface_group *g, const struct group_filter *f)
{
	size_t len = g->family == AF_INET ? 4 : 16;
	Udp__Group **more = realloc(rec->groups, (rec->n_groups + 1) * sizeof(*more)), *new;
	uint8_t *at;

	if (!more)
		return -ENOMEM;
	rec->groups = more;
	new = calloc(1, sizeof(*new) + IF_NAMESIZE + 16 + f->gf_numsrc * (sizeof(*new->sources) + 16));
	if (!new)
		return -ENOMEM;
	udp__group__init(new);
	rec->groups[rec->n_groups++] = new;
	new->sources = (ProtobufCBinaryData *)(new + 1);
	new->n_sources = f->gf_numsrc;
	new->include = f->gf_fmode == MCAST_INCLUDE;
	at = (uint8_t *)(new->sources + f->gf_numsrc);
	for (unsigned i = 0; i < f->gf_numsrc; i++, at += 16)
		new->sources[i] = (ProtobufCBinaryData){ len, memcpy(at, bytes_of(&f->gf_slist[i]), len) };
	new->address = (ProtobufCBinaryData){ len, memcpy(at, g->at, len) };
	new->interface = (char *)at + 16;
	return if_indextoname(g->index, new->interface) ? 0 : -errno;
}

int groups_save(struct udp *u, int fd, Udp__Socket *rec, struct crcore_error *err)
{
	cleanup_free struct group_filter *f = malloc(GROUP_FILTER_SIZE(MAX_SOURCES));
	int r = f ? 0 : -ENOMEM;

	if (!r && !u->asked_groups) {
		r = read_v4(u);
		if (!r)
			r = read_v6(u);
		u->asked_groups = true;
	}
	for (unsigned i = 0; !r && i < u->ngroups; i++) {
		if (u->groups[i].family == AF_INET6 && rec->family != AF_INET6)
			continue;
		r = ask(fd, &u->groups[i], f);
		if (r > 0)
			r = keep(rec, &u->groups[i], f);
	}
	return r < 0 ? crcore_fail(err, r, "cannot read its multicast groups: %s", strerror(-r)) : 0;
}

void groups_free(Udp__Socket *rec)
{
	for (size_t i = 0; i < rec->n_groups; i++)
		free(rec->groups[i]);
	free(rec->groups);
	rec->groups = NULL;
	rec->n_groups = 0;
}

/* -- restore --------------------------------------------------------------- */

static int set_sources(int fd, int level, const Udp__Group *g, uint32_t index)
{
	cleanup_free struct group_filter *f = calloc(1, GROUP_FILTER_SIZE(g->n_sources + 1));
	int family = g->address.len == 4 ? AF_INET : AF_INET6;

	if (!f)
		return -ENOMEM;
	f->gf_interface = index;
	f->gf_fmode = g->include ? MCAST_INCLUDE : MCAST_EXCLUDE;
	f->gf_numsrc = (uint32_t)g->n_sources;
	put_group(&f->gf_group, family, g->address.data);
	for (size_t i = 0; i < g->n_sources; i++)
		put_group(&f->gf_slist[i], family, g->sources[i].data);
	return setsockopt(fd, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(g->n_sources)) < 0 ?
	       -errno : 0;
}

static struct in_addr own_address(int fd, const char *interface)
{
	struct in_addr none = { INADDR_ANY };
	struct ifreq q = { 0 };

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", interface);
	if (ioctl(fd, SIOCGIFADDR, &q) < 0)
		return none;
	return ((struct sockaddr_in *)(void *)&q.ifr_addr)->sin_addr;
}

static int join(int fd, const Udp__Group *g)
{
	uint32_t index = if_nametoindex(g->interface);
	struct ip_mreqn v4 = { .imr_ifindex = (int)index };
	struct ipv6_mreq v6 = { .ipv6mr_interface = index };
	int level = g->address.len == 4 ? SOL_IP : SOL_IPV6, r;

	if (!index)
		return -ENODEV;
	if (g->address.len == 4) {
		memcpy(&v4.imr_multiaddr, g->address.data, 4);
		v4.imr_address = own_address(fd, g->interface); /* by which one may leave again */
		r = setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &v4, sizeof(v4));
	} else {
		memcpy(&v6.ipv6mr_multiaddr, g->address.data, 16);
		r = setsockopt(fd, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &v6, sizeof(v6));
	}
	if (r < 0)
		return -errno;
	return g->include || g->n_sources ? set_sources(fd, level, g, index) : 0;
}

int groups_join(int fd, const Udp__Socket *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_groups; i++) {
		int r = join(fd, rec->groups[i]);
		if (r < 0) {
			crcore_advise(err, "set up the interface %s as it was", rec->groups[i]->interface);
			return crcore_fail(err, r, "cannot join its multicast group on %s: %s",
			                   rec->groups[i]->interface, strerror(-r));
		}
	}
	return 0;
}
