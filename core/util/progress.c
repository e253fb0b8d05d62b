/* SPDX-License-Identifier: Apache-2.0 */
/* See progress.h. */
#include <stdbool.h>
#include "core/util/progress.h"
#include "core/util/util.h"

#define FIRST_AFTER 1000000000u /* ns: shorter work says nothing */
#define BETWEEN 100000000u

void progress(const char *what, uint64_t done, uint64_t total)
{
	/* There is one terminal, and callers deep in the stages have no handle of it. */
	static uint64_t first, last;
	uint64_t now = now_ns();

	if (!first)
		first = now;
	if (!what) {
		if (last)
			fputs("\r\033[K", stderr);
		first = last = 0;
		return;
	}
	if (now - first < FIRST_AFTER || now - last < BETWEEN || !isatty(STDERR_FILENO))
		return;
	last = now;
	if (total)
		fprintf(stderr, "\r\033[K%s %u%%", what,
		        (unsigned)((double)(done < total ? done : total) * 100 / (double)total));
	else
		fprintf(stderr, "\r\033[K%s", what);
	fflush(stderr);
}
