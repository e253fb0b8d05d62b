/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is relied on: the kernel keeps an option in the socket, in one or several members, and
 * the value that getsockopt() tells is another only if one of these is; they are those that
 * change when it is set. A member that holds more than the option makes that one be asked for
 * more often than need be. Of a struct that the kernel does not describe, words of 4 bytes are
 * taken in place of members: none has only half of a number, but for those of 8 bytes, of which
 * each half that can change does so, since large values are tried too.
 *
 * What cannot be tried, or not be set back, is not learned, and is asked for.
 */
#include "plugins/net/learn.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "plugins/util.h"

#define PLACES 8
#define LONGEST 4 /* words of a value */

struct place { uint16_t word; uint32_t mask; };
struct learned {
	uint32_t fresh[INSIDE_WORDS]; /* a new socket */
	int nwords;
	struct places { /* n 0, or more than PLACES: not known */
		unsigned n;
		struct place v[PLACES];
	} of[];
};

static const uint32_t tries[] = { 1, 0, 2, 5, 100, 0x1000, INT_MAX, UINT32_MAX };

/* A socket that options are tried on. */
struct trial {
	struct inside *inside;
	uint32_t type; /* of its struct */
	int fd;
	uint32_t before[INSIDE_WORDS], now[INSIDE_WORDS];
};

enum way { HERE, ON_UNIX, NOT_AT_ALL };

/* The kernel would do more than to note a value: begin to take the time of all packets, which
 * it does not for UNIX sockets, whose members of this level are the same; reserve memory; look
 * at all packets for it from then on; make keys. */
static enum way way_to_try(const struct net_value *v)
{
	static const struct { short level, number; enum way way; } list[] = {
		{ SOL_SOCKET, 29, ON_UNIX }, { SOL_SOCKET, 63, ON_UNIX }, /* SO_TIMESTAMP_OLD, _NEW */
		{ SOL_SOCKET, 35, ON_UNIX }, { SOL_SOCKET, 64, ON_UNIX }, /* SO_TIMESTAMPNS */
		{ SOL_SOCKET, 37, ON_UNIX }, { SOL_SOCKET, 65, ON_UNIX }, /* SO_TIMESTAMPING */
		{ SOL_SOCKET, 73, NOT_AT_ALL }, /* SO_RESERVE_MEM */
		{ 0, 5, NOT_AT_ALL },           /* IP_ROUTER_ALERT */
		{ 0, 21, NOT_AT_ALL },          /* IP_MINTTL */
		{ 41, 73, NOT_AT_ALL },         /* IPV6_MINHOPCOUNT */
		{ 6, 23, NOT_AT_ALL },          /* TCP_FASTOPEN */
		{ 6, 37, NOT_AT_ALL },          /* TCP_TX_DELAY */
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		if (list[i].level == v->level && list[i].number == v->number)
			return list[i].way;
	return v->level == 17 /* UDP */ ? NOT_AT_ALL : HERE;
}

/* Whether it has another value than this one. */
static bool differs(int fd, const struct net_value *v)
{
	char data[NET_VALUE_MAX];
	socklen_t len = sizeof(data);

	return getsockopt(fd, v->level, v->number, data, &len) < 0 || len != v->len ||
	       memcmp(data, v->data, len) != 0;
}

static int set_value(int fd, const struct net_value *v)
{
	return setsockopt(fd, v->level, v->number, v->data, v->len);
}

/* Whether it has that value again. SO_LINGER notes the time only while it is on. */
static bool set_back(int fd, const struct net_value *v)
{
	struct linger now = { 1, 0 };

	if (v->level == SOL_SOCKET && v->number == SO_LINGER)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return set_value(fd, v) == 0 && !differs(fd, v);
}

static void add_place(struct places *p, unsigned word, uint32_t mask)
{
	for (unsigned i = 0; i < p->n && i < PLACES; i++)
		if (p->v[i].word == word) {
			p->v[i].mask |= mask;
			return;
		}
	if (p->n < PLACES)
		p->v[p->n] = (struct place){ (uint16_t)word, mask };
	if (p->n <= PLACES)
		p->n++;
}

/* The member that this bit is in. */
static void add_bit(struct places *p, const struct trial *t, uint32_t bit)
{
	uint32_t first = bit & ~31u, n = 32;

	inside_member(t->inside, t->type, bit, &first, &n);
	for (uint32_t i = first; i < first + n && p->n <= PLACES; i++)
		add_place(p, i / 32, 1u << i % 32);
}

static bool has(const struct places *p, unsigned word, uint32_t mask)
{
	for (unsigned i = 0; i < p->n && i < PLACES; i++)
		if (p->v[i].word == word && (p->v[i].mask & mask))
			return true;
	return false;
}

static void note_changed(struct places *p, const struct trial *t, int n)
{
	for (unsigned i = 0; (int)i < n; i++)
		for (uint32_t bits = t->now[i] ^ t->before[i]; bits; bits &= bits - 1)
			if (!has(p, i, bits & -bits))
				add_bit(p, t, i * 32 + (uint32_t)__builtin_ctz(bits));
}

/* One word of the value becomes x, or each. Whether it has another value then. */
static bool try_word(struct trial *t, const struct net_value *usual, unsigned word, uint32_t x,
                     struct places *p)
{
	struct net_value v = *usual;
	const unsigned n = v.len / sizeof(x);

	for (unsigned i = 0; i < n; i++)
		if (word == i || word == n)
			memcpy(v.data + i * sizeof(x), &x, sizeof(x));
	if (set_value(t->fd, &v) < 0 || !differs(t->fd, usual))
		return false;
	note_changed(p, t, inside_read(t->inside, t->fd, t->now));
	return true;
}

static void learn_one(struct trial *t, const struct net_value *usual, struct places *p)
{
	const unsigned n = usual->len / sizeof(uint32_t);
	const unsigned enough = n == 1 && t->type ? 3 : UINT_MAX; /* members are taken as a whole */
	unsigned took = 0;

	if (!n || n > LONGEST || usual->len % sizeof(uint32_t) || differs(t->fd, usual) ||
	    inside_read(t->inside, t->fd, t->before) <= 0)
		return;
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries) && took < enough; i++)
		for (unsigned word = n > 1 ? 0 : n; word <= n; word++)
			took += try_word(t, usual, word, tries[i], p);
	if (!set_back(t->fd, usual))
		p->n = 0;
}

/* The kernel's struct for sockets of a sort. */
static const char *name_of(int family, int type)
{
	if (family == AF_UNIX)
		return "unix_sock";
	if (family == AF_INET)
		return type == SOCK_STREAM ? "tcp_sock" : type == SOCK_DGRAM ? "udp_sock" : "";
	if (family == AF_INET6)
		return type == SOCK_STREAM ? "tcp6_sock" : type == SOCK_DGRAM ? "udp6_sock" : "";
	return "";
}

static int new_trial(struct inside *inside, int family, int type, int protocol, struct trial **ret)
{
	struct trial *t = *ret = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->inside = inside;
	t->type = inside_struct(inside, name_of(family, type));
	t->fd = socket(family, type | SOCK_CLOEXEC, protocol);
	return t->fd < 0 ? -errno : 0;
}

static void trial_free(struct trial *t)
{
	if (t && t->fd >= 0)
		close(t->fd);
	free(t);
}

struct learned *learn_options(struct inside *inside, int family, int type, int protocol,
                              const struct net_value *usual, unsigned n)
{
	cleanup_close int fresh = socket(family, type | SOCK_CLOEXEC, protocol);
	struct learned *l = calloc(1, sizeof(*l) + n * sizeof(*l->of));
	struct trial *t = NULL, *local = NULL;
	int r = new_trial(inside, family, type, protocol, &t);

	if (!r)
		r = new_trial(inside, AF_UNIX, SOCK_STREAM, 0, &local);
	if (!r && l && fresh >= 0)
		r = l->nwords = inside_read(inside, fresh, l->fresh);
	for (unsigned i = 0; r > 0 && i < n; i++) {
		enum way way = way_to_try(&usual[i]);
		if (way != NOT_AT_ALL)
			learn_one(way == HERE ? t : local, &usual[i], &l->of[i]);
	}
	trial_free(t);
	trial_free(local);
	if (r > 0)
		return l;
	free(l);
	return NULL;
}

bool learned_usual(const struct learned *l, unsigned option, const uint32_t *words, int nwords)
{
	const struct places *p = &l->of[option];

	if (!p->n || p->n > PLACES || nwords != l->nwords)
		return false;
	for (unsigned i = 0; i < p->n; i++)
		if ((words[p->v[i].word] ^ l->fresh[p->v[i].word]) & p->v[i].mask)
			return false;
	return true;
}
