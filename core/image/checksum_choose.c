/* SPDX-License-Identifier: Apache-2.0 */
/* See checksum.c. */
#include "core/image/checksum.h"

uint64_t checksum_plain(const void *, size_t);
uint64_t checksum_avx2(const void *, size_t);

uint64_t checksum(const void *buf, size_t len)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return checksum_avx2(buf, len);
#endif
	return checksum_plain(buf, len);
}
