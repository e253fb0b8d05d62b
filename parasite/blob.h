/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter as bytes: copy them anywhere executable, jump to the entry. */
#ifndef CRCORE_PARASITE_BLOB_H
#define CRCORE_PARASITE_BLOB_H

#include <stddef.h>
#include <stdint.h>

extern const unsigned char interpreter_blob[];
extern const size_t interpreter_blob_size;
#define INTERPRETER_ENTRY 0 /* offset of entry(struct program *), first argument register */

/* A system call instruction, and the way back to the application behind it,
 * with a struct frame (arch/) directly after the last byte. Part of the blob. */
#define LANDING_ROOM 288 /* enough for its code */
extern const unsigned char *const interpreter_landing;
extern const size_t interpreter_landing_size;
/* The tail of it, which an orphan takes along to a page of its own. */
extern const unsigned char *const interpreter_return;
extern const size_t interpreter_return_size;
#endif
