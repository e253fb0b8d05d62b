/* SPDX-License-Identifier: Apache-2.0 */
/* What the running kernel says of its own types and functions (BTF). */
#ifndef PLUGINS_BPF_BTF_H
#define PLUGINS_BPF_BTF_H

#include <stdbool.h>
#include <stdint.h>

struct btf;

/* Whatever the tree's /sys is, it is what the kernel itself says. Negative errno. */
int btf_open(struct btf **ret);
void btf_close(struct btf *); /* NULL is fine */
/* Its number; 0: there is none. */
int btf_function(const struct btf *, const char *name);
/* Where a member is in a struct, and its size, in bytes; 0 of an array without a length.
 * False: there is none. */
bool btf_member(const struct btf *, const char *type, const char *name, uint32_t *ret_offset,
                uint32_t *ret_size);

struct btf_bits {
	uint32_t first, n; /* n 0: of an array without a length */
};

/* The same for a member of a struct inside, "a.b", and for bit fields. */
bool btf_find_bits(const struct btf *, const char *type, const char *path, struct btf_bits *ret);

/* The number of a struct; 0: there is none. */
uint32_t btf_struct(const struct btf *, const char *name);
/* Which member a bit of a struct belongs to: the innermost, but a union or an array as a whole. */
bool btf_member_at(const struct btf *, uint32_t number, uint32_t bit, struct btf_bits *ret);

#endif
