/* SPDX-License-Identifier: Apache-2.0 */
/* What the running kernel says of its own types and functions (BTF). */
#ifndef PLUGINS_BPF_BTF_H
#define PLUGINS_BPF_BTF_H

#include <stdbool.h>
#include <stdint.h>

struct btf;

/* Asked of the kernel itself, for the tree's /sys may be another, or none. Negative errno. */
int btf_open(struct btf **ret);
void btf_close(struct btf *); /* NULL is fine */
/* Its number; 0: there is none. */
int btf_function(const struct btf *, const char *name);
/* Where a member is in a struct, and its size, in bytes; 0 of an array without a length.
 * False: there is none. */
bool btf_member(const struct btf *, const char *type, const char *name, uint32_t *ret_offset,
                uint32_t *ret_size);

#endif
