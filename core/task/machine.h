/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image needs of the machine that it is restored on: processor
 * features (cpu.c) and the kernel's vdso (vdso.c).
 */
#ifndef CRCORE_MACHINE_H
#define CRCORE_MACHINE_H

#include <crcore/error.h>
#include <protobuf-c/protobuf-c.h>

/* Features that programs here may use; the layout is cpu.c's. ret->data: caller frees. */
int cpu_features(ProtobufCBinaryData *ret, struct crcore_error *);
/* Refuses, naming them, if the image's features are not all here. */
int cpu_check(const ProtobufCBinaryData *image, struct crcore_error *);

/* Hash (XXH3-128) of the code of this process's vdso. ret->data: caller frees. */
int vdso_hash(ProtobufCBinaryData *ret, struct crcore_error *);
int vdso_check(const ProtobufCBinaryData *image, struct crcore_error *);

#endif
