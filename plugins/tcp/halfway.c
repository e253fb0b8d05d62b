/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: those who have said the last word of the handshake and are not connected here: it is on
 * its way, was lost, or TCP_DEFER_ACCEPT has the kernel wait for data. To themselves they are
 * connected, and are to be kept. So they are made to say it again, by a segment whose numbers make
 * no sense, to which TCP answers with its own; the listening socket does without TCP_DEFER_ACCEPT
 * for that time. Who is still waiting for an answer of ours takes it for one to somebody else, and
 * goes on waiting.
 */
#include "plugins/tcp/backlog.h"
#include "plugins/tcp/inject.h"

#define DEFER 9 /* TCP_DEFER_ACCEPT */

static bool without(const struct halfway *d, const struct known *k)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->v[i].k == k)
			return true;
	return false;
}

static void do_without(struct tcp *t, struct halfway *d, const struct known *k)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;
	struct meanwhile *m;
	int fd = d->n < HALFWAY && !without(d, k) ? known_open(t, k, &unused) : -1;

	if (fd < 0)
		return;
	m = meanwhile_take(t);
	meanwhile_of(m, k, fd);
	meanwhile_set(m, IPPROTO_TCP, DEFER, 0, known_value(k, IPPROTO_TCP, DEFER, 0));
	d->v[d->n].k = k;
	d->v[d->n].fd = fd;
	d->v[d->n++].meanwhile = m;
}

void halfway_ask(struct tcp *t, struct halfway *d)
{
	const struct said nothing = { .flags = SEG_ACK };

	for (unsigned i = 0; i < t->nknown; i++) {
		const struct known *k = &t->known[i];
		if (!k->obj || k->state != ST_LISTEN)
			continue;
		for (unsigned g = 0; g < t->graph.n; g++) {
			const struct other *o = &t->graph.v[g];
			if (o->state != ST_SYN_RECV || o->local.port != k->local.port)
				continue;
			if (known_value(k, IPPROTO_TCP, DEFER, 0) > 0)
				do_without(t, d, k);
			inject(t, &o->local, &o->remote, &nothing);
		}
	}
}

void halfway_end(struct halfway *d)
{
	while (d->n) {
		d->n--;
		meanwhile_back(d->v[d->n].meanwhile);
		meanwhile_leave(d->v[d->n].meanwhile);
		close(d->v[d->n].fd);
	}
}
