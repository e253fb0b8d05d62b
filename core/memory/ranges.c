/* SPDX-License-Identifier: Apache-2.0 */
/* By itself, so that a test can have a bound of its own. */
#include "core/memory/memory.h"
#include "core/util/util.h"

#define RANGES_FEW (1u << 20)   /* do no harm anywhere */
#define RANGES_PER_PAGE 8       /* of the machine; each takes up to 200 bytes */

uint64_t ranges_most(void)
{
	uint64_t n = RANGES_PER_PAGE * (uint64_t)sysconf(_SC_PHYS_PAGES);

	return n > RANGES_FEW ? n : RANGES_FEW;
}
