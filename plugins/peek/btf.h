/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's description of its own types (BTF): where in a struct a member is. */
#ifndef CRCORE_PLUGIN_PEEK_BTF_H
#define CRCORE_PLUGIN_PEEK_BTF_H

#include <stdint.h>

struct types;

struct btf_place {
	uint32_t offset; /* bytes */
	uint32_t size;
	uint32_t bit;    /* of a bit field: its first bit, counted from offset ... */
	uint32_t bits;   /* ... and how many; 0: no bit field */
};

/* Takes 5 ms, and less than 1 ms where the kernel lets its description be mapped.
 * Negative errno. */
int types_open(struct types **ret);
void types_free(struct types *);
/* A member of a struct, or of a struct in it: "a.b". -ENOENT: there is none. */
int types_find(struct types *, const char *type, const char *path, struct btf_place *ret);
#endif
