/* SPDX-License-Identifier: Apache-2.0 */
/* The network lock where nftables is missing. See block.c. */
#ifndef CRCORE_PLUGIN_TCP_BLOCK_H
#define CRCORE_PLUGIN_TCP_BLOCK_H

#include "plugins/tcp/tcp.h"

#define BLOCK_NAME 16
int block_possible(struct crcore_error *);
int block_take(const struct lock_list *, struct block **, struct crcore_error *); /* till we end */
int block_stay(const struct lock_list *, const char *name, struct crcore_error *);
void block_remove(const char *name);
void block_free(struct block *);

#endif
