/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* BPF programs for network devices. One of them must be under the GPL; hence the first line. */
#ifndef CRCORE_PLUGIN_TCP_BPF_H
#define CRCORE_PLUGIN_TCP_BPF_H

#include "plugins/bpf/program.h"

#define TCX_INGRESS 46 /* BPF_TCX_INGRESS, BPF_TCX_EGRESS, which the headers may lack */
#define TCX_EGRESS 47
#define TCX_GO_ON (-1) /* TCX_NEXT: let the next program decide */

/* To a place on the stack: len bytes of the packet, whose context register 6 has, from the place
 * in register 2 on, seen from its IP header. */
static inline void load_bytes(struct code *c, int to, int len, int label_none)
{
	move(c, 1, 6);
	point(c, 3, to);
	set(c, 4, len);
	set(c, 5, 1); /* BPF_HDR_START_NET */
	call(c, BPF_FUNC_skb_load_bytes_relative);
	jump(c, BPF_JNE, 0, 0, label_none);
}

/* way: TCX_INGRESS or TCX_EGRESS. */
static inline int load_at_device(struct code *c, uint32_t way, const char *license,
                                 const char *name)
{
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_SCHED_CLS, .expected_attach_type = way };

	return code_load(c, &a, license, name);
}

#endif
