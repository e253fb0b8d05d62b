/* SPDX-License-Identifier: Apache-2.0 */
/* See checksum.c. */
#include "core/image/checksum.h"
#ifdef __x86_64__
#include <sys/platform/x86.h>
#endif

uint64_t checksum_plain(const void *, size_t);
uint64_t checksum_avx2(const void *, size_t);

uint64_t checksum(const void *buf, size_t len)
{
#ifdef __x86_64__
	if (CPU_FEATURE_ACTIVE(AVX2)) /* the compiler's own way asks the processor at each start */
		return checksum_avx2(buf, len);
#endif
	return checksum_plain(buf, len);
}
