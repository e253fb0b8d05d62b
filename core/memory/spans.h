/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of address ranges, ascending and without overlap, each with something
 * that is there: the arithmetic under the restore layout.
 */
#ifndef CRCORE_SPANS_H
#define CRCORE_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * val advances with the address: [start,end) has val at start, val + 1 at start + 1.
 * (Where that is not wanted, val is the start: a range then maps to itself.)
 * tag says what it is; neighbours that go on in val and tag are one.
 */
struct span { uint64_t start, end, val; uint32_t tag; };
struct spans { struct span *v; size_t n, cap; };

/* All that return bool return false when out of memory. */
bool spans_append(struct spans *, struct span);      /* joins with the last; start >= its end */
bool spans_push(struct spans *, struct span);        /* never joins */
/* The first that ends behind addr; n if none. */
size_t spans_find(const struct spans *, uint64_t addr);
bool spans_overlap(const struct spans *, uint64_t start, uint64_t end);
/* Appends the part of s in [start,end), if any. */
bool spans_clip(const struct spans *s, uint64_t start, uint64_t end, struct spans *ret);
/* ret := a with what b has in its place (b wins). */
bool spans_overlay(const struct spans *a, const struct spans *b, struct spans *ret);
/* ret := what of a is not covered by b. */
bool spans_subtract(const struct spans *a, const struct spans *b, struct spans *ret);
/* s := what of s is not covered by b. */
bool spans_drop(struct spans *s, const struct spans *b);
/* ret := what of a is not in b with the same value. */
bool spans_differ(const struct spans *a, const struct spans *b, struct spans *ret);
/* Appends s, cut where addresses are multiples of at (a power of 2). */
bool spans_cut(const struct spans *s, uint64_t at, struct spans *ret);
/* ret := what of s is at most near apart as one; val is the start. */
bool spans_join(const struct spans *s, uint64_t near, struct spans *ret);
bool spans_copy(const struct spans *a, struct spans *ret);
/* Sorts by address. Where ranges overlap the earlier in the list wins. */
bool spans_sort(struct spans *);
uint64_t spans_bytes(const struct spans *);
void spans_free(struct spans *);

#endif
