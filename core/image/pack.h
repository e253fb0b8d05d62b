/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing a block of bytes, and unpacking one that came from outside. The libraries that
 * do it are loaded when they are needed: a dump of a small process would feel them.
 */
#ifndef CRCORE_PACK_H
#define CRCORE_PACK_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stddef.h>

enum pack_codec { PACK_PLAIN, PACK_LZ4, PACK_ZSTD, PACK_CODECS }; /* as in images: keep */

struct pack; /* one codec, for any number of threads */

/* level: as the codec counts, 0: its fastest that is of use. Codec not PACK_PLAIN. */
int pack_open(enum pack_codec, int level, struct pack **ret, struct crcore_error *);
void pack_close(struct pack *); /* NULL is fine */
/* Packs into at most room bytes: how many, 0: it does not shrink to that. */
size_t pack_block(struct pack *, const void *from, size_t len, void *to, size_t room);
/* False unless the n bytes unpack to exactly len. Writes at most len. */
bool unpack_block(struct pack *, const void *from, size_t n, void *to, size_t len);
#endif
