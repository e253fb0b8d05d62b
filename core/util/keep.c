/* SPDX-License-Identifier: Apache-2.0 */
/* See keep.h. */
#include <stdlib.h>
#include <unistd.h>
#include "core/util/keep.h"

static int by_number(const void *a, const void *b)
{
	const int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

void keep_only(int *fds, unsigned n)
{
	unsigned from = 0;

	qsort(fds, n, sizeof(*fds), by_number);
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] < 0)
			continue;
		if ((unsigned)fds[i] > from)
			close_range(from, (unsigned)fds[i] - 1, 0);
		from = (unsigned)fds[i] + 1;
	}
	close_range(from, ~0U, 0);
}
