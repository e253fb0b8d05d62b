/* SPDX-License-Identifier: Apache-2.0 */
/* Segments as from one end of a connection to the other; nothing comes back. */
#ifndef CRCORE_PLUGIN_TCP_INJECT_H
#define CRCORE_PLUGIN_TCP_INJECT_H

#include "plugins/tcp/tcp.h"

enum { SEG_FIN = 1, SEG_RST = 4, SEG_ACK = 16, SEG_URG = 32 };
struct said {
	uint8_t flags; /* SEG_*; SEG_URG: the first byte is urgent */
	uint16_t window;
	uint32_t seq, ack;
	const void *data;
	size_t len;
};
int inject_open(bool v4);
int inject_by(int fd, const struct end *from, const struct end *to, const struct said *);
int inject(struct tcp *, const struct end *from, const struct end *to, const struct said *);

/* resend.c: what was sent to a peer outside, which it may not have got; never urgent data. */
void resend(struct tcp *, const struct made *);
#endif
