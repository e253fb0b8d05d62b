/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of an open image. Runs say where their bytes are by an offset that counts
 * through all page files of the image, one behind the other. Whoever needs bytes asks
 * here and never opens a page file: what lies where is known to nobody else.
 */
#ifndef CRCORE_PAGES_H
#define CRCORE_PAGES_H

#include "core/image/image.h"

struct pages;

/* Opens the ancestors of the image, if it has any: one that is missing, or not what the image
 * was made on, is refused. Borrows from the image, which must stay open. One without a page
 * file has no bytes. */
int pages_open(struct image *, struct pages **ret, struct crcore_error *);
uint64_t pages_length(const struct pages *);
/* From now on what is read is checked where that costs no second reading: what is packed, and
 * what pages_read_part() reads. What else is read somebody has to check before it. */
void pages_verify(struct pages *);
/* Reads len bytes from offset on; by any thread. */
int pages_read(struct pages *, uint64_t offset, void *buf, size_t len, struct crcore_error *);
/* The part of the pages, at most IMAGE_BLOCK, that has one checksum and holds the byte at offset
 * (is it packed?); and its bytes, checked. By any thread. */
bool pages_block(const struct pages *, uint64_t offset, uint64_t *ret_start, size_t *ret_len);
int pages_read_block(struct pages *, uint64_t offset, void *buf, struct crcore_error *);
/* len bytes from offset on that are all in one block. *ret: where in buf (IMAGE_BLOCK). By any
 * thread. */
int pages_read_part(struct pages *, uint64_t offset, size_t len, uint8_t *buf,
                    const uint8_t **ret, struct crcore_error *);
/* The plain file that holds the byte at offset: its descriptor (borrowed), *ret_at: where in
 * it, *ret_len: how many bytes from there on are one piece of it. -1: there is none, but
 * *ret_len bytes that only pages_read() gives (to the end of a packed block), or (0) none
 * at all. */
int pages_plain(const struct pages *, uint64_t offset, uint64_t *ret_at, uint64_t *ret_len);
void pages_close(struct pages *); /* NULL is fine */
#endif
