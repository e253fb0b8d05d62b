/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket filters. The kernel gives a classic BPF program back as it was
 * attached; one of eBPF it does not, so a socket with such a one is refused.
 */
#ifndef CRCORE_PLUGIN_NET_FILTER_H
#define CRCORE_PLUGIN_NET_FILTER_H

#include <crcore/plugin.h>

/* Whether what is attached to fd, if anything, can be kept: 0, or -ENOTSUP with the reason. */
int net_filter_check(int fd, struct crcore_error *);
/* One number per instruction: allocates *ret, NULL if there is none. */
int net_filter_read(int fd, uint64_t **ret, size_t *ret_n, bool *ret_locked, struct crcore_error *);
/* Attaches n instructions (none: takes away what is attached), and locks. Negative errno. */
int net_filter_set(int fd, const uint64_t *v, size_t n, bool locked);
#endif
