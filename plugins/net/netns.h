/* SPDX-License-Identifier: Apache-2.0 */
/* Which network namespace a socket is in. */
#ifndef CRCORE_PLUGIN_NET_NETNS_H
#define CRCORE_PLUGIN_NET_NETNS_H

#include <crcore/plugin.h>

/* 0, or a refusal: the socket is in another one than the hooks, which is that of the tree; not
 * to be called in open. own: 0 at first. */
int netns_check(int fd, uint64_t *own, struct crcore_error *);
uint64_t netns_own(void); /* for several threads, which then only read it; 0: cannot be told */
#endif
