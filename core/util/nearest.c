/* SPDX-License-Identifier: Apache-2.0 */
/* Edit distance (Levenshtein) over short names, for advice in errors. */
#include "core/util/nearest.h"
#include <string.h>

#define LEN_MAX 48

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

static unsigned edits(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned row[LEN_MAX + 1];

	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned above = row[j];
			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[nb];
}

void nearest_try(struct nearest *n, const char *name)
{
	size_t a = strlen(n->word), b = strlen(name);

	if (!a || !b || a > LEN_MAX || b > LEN_MAX)
		return;
	unsigned d = edits(n->word, a, name, b);
	unsigned limit = b < 6 ? 2 : (unsigned)b / 3;
	if (d > limit || d >= b || (n->best && d >= n->distance))
		return;
	n->best = name;
	n->distance = d;
}
