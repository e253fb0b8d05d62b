/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64, as XXH3_64bits() has it: by the widest instructions of this processor. */
#ifndef CRCORE_IMAGE_CHECKSUM_H
#define CRCORE_IMAGE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum(const void *, size_t);
#endif
