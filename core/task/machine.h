/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image needs of the machine that it is restored on: processor
 * features (cpu.c) and the kernel's vdso (vdso.c), and where that lies (specials.c).
 */
#ifndef CRCORE_MACHINE_H
#define CRCORE_MACHINE_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/image/core.pb-c.h"

/* Features that programs here may use; the layout is cpu.c's. ret->data: caller frees. */
int cpu_features(ProtobufCBinaryData *ret, struct crcore_error *);
/* Refuses, naming them, if the image's features are not all here. */
int cpu_check(const ProtobufCBinaryData *image, struct crcore_error *);

/* Hash (XXH3-128) of the code of this process's vdso. ret->data: caller frees. */
int vdso_hash(ProtobufCBinaryData *ret, struct crcore_error *);
int vdso_check(const ProtobufCBinaryData *image, struct crcore_error *);

/* What the kernel maps into each program, in the order of addresses: vvar and vdso. They cannot be
 * made, only moved, and unmapped as a whole. */
#define SPECIALS_MAX 4
struct special { uint64_t start, end; bool vdso; };
struct specials { struct special v[SPECIALS_MAX]; unsigned n; };

int specials_find(struct specials *ret, struct crcore_error *); /* this process's */
/* ret[i]: the mapping that is s->v[i] in another address space; NULL: it was unmapped there. False
 * if that has others, of another kernel. */
bool specials_match(const struct specials *s, const Crcore__Mm *,
                    const Crcore__Vma *ret[SPECIALS_MAX]);

#endif
