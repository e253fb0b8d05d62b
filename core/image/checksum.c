/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XXH3 is its header compiled for one set of instructions. Libraries have it for those that every
 * processor has, which take as long to hash a page as to copy it. So this file is compiled for
 * others as well, each time with CHECKSUM as the name.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "core/image/checksum.h"

uint64_t CHECKSUM(const void *, size_t);
uint64_t CHECKSUM(const void *buf, size_t len)
{
	return XXH3_64bits(buf, len);
}
