/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In which order a start touched the pages of an image: chunks of its pages, the first first.
 * A hint beside the image, "order-1.bin", that is no part of it: what cannot be read, or is of
 * another image, is as if it were not there.
 */
#ifndef CRCORE_PAGER_ORDER_H
#define CRCORE_PAGER_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORDER_CHUNK (64u << 10)

struct order {
	uint32_t *v;     /* numbers of chunks */
	size_t n;
	uint8_t *seen;   /* one for each chunk that there is */
	size_t chunks;
};

/* False: out of memory. It lasts as long as the process that keeps it. */
bool order_begin(struct order *, uint64_t pages_length);
void order_note(struct order *, uint64_t offset);        /* the chunk it lies in, if it is new */
/* Appends what was recorded in that folder for an image with that key. */
void order_read(struct order *, int dir, uint64_t key);
/* False: it could not be written, which does not matter. */
bool order_write(const struct order *, int dir, uint64_t key);
#endif
