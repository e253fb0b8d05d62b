/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what was sent and not acknowledged. The network lock may have dropped it, or the
 * acknowledgement; to the kernel it counts as sent again, and not before its timer has run for a
 * second it would send it once more. So the last segments of it are sent here, as the kernel would.
 * The peer acknowledges all, or says what it lacks, and the kernel sees to that at once.
 */
#include "plugins/tcp/inject.h"

#define SEGMENTS 10 /* that a connection may begin with (RFC 6928) */

/* Its end that we said we would take, from what we have received on. */
static uint16_t window_of(const Tcp__Stream *st)
{
	const uint32_t room = st->window_sent + st->receive_window - st->receive_next;
	const uint32_t scaled = room >> (st->scaling ? st->receive_scale : 0);

	return (int32_t)room <= 0 ? 0 : scaled > UINT16_MAX ? UINT16_MAX : (uint16_t)scaled;
}

/* Out of repair mode. What is lost once more the kernel sends when it is time. */
void resend(struct tcp *t, const struct made *m)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;
	const Tcp__Stream *st = m->rec->stream;
	const Tcp__Queues *q = m->rec->queues;
	const int mss = get_int(m->fd, IPPROTO_TCP, T_MAXSEG);
	const int blob = t->host->blob(t->ctx, "socket", &unused);
	cleanup_free char *buf = mss > 0 ? malloc((size_t)mss) : NULL;
	const uint32_t most = SEGMENTS * (uint32_t)mss, end = q->sent;

	if (!buf || blob < 0)
		return;
	for (uint32_t at = end > most ? end - most : 0; at < end; at += (uint32_t)mss) {
		const size_t len = end - at < (uint32_t)mss ? end - at : (uint32_t)mss;
		const struct said what = { SEG_ACK, window_of(st), m->una + at,
			st->receive_next + st->fin_received, buf, len };
		if (pread(blob, buf, len, (off_t)(q->blob + at)) != (ssize_t)len ||
		    inject(t, &m->local, &m->remote, &what) < 0)
			return;
	}
}
