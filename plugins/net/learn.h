/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where in a socket, as it lies in the kernel's memory, its options are kept: learned from a
 * socket of our own, whose options are set to other values one by one. An option of which all
 * words are those of a new socket has the value that it has there, and need not be asked for.
 */
#ifndef PLUGINS_NET_LEARN_H
#define PLUGINS_NET_LEARN_H

#include "plugins/bpf/inside.h"
#include "plugins/net/options.h"

struct learned;

/* n options of such a socket with their usual values; those that have no bytes are left
 * out. NULL: it cannot be learned. */
struct learned *learn_options(struct inside *, int family, int type, int protocol,
                              const struct net_value *usual, unsigned n);
/* Whether words, so many, say that the option with this index has its usual value. */
bool learned_usual(const struct learned *, unsigned option, const uint32_t *words, int nwords);

#endif
