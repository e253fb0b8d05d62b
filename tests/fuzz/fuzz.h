/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzz target gives: libFuzzer's entry point, and seeds made in code.
 * Linked with driver.c it is a plain program for any compiler, which mutates
 * the seeds for a bounded time; with clang -fsanitize=fuzzer it is a libFuzzer
 * target whose first corpus `fuzz-X --write-seeds DIR` of the plain one writes.
 */
#ifndef CRCORE_FUZZ_H
#define CRCORE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
/* Seed number i into *ret (malloc); false past the last. */
_Bool fuzz_seed(unsigned i, uint8_t **ret, size_t *ret_len);
#endif
