/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Did you mean ...?": the name nearest to a mistyped one.
 *
 *   struct nearest n = NEAREST_INIT(word);
 *   for each known name: nearest_try(&n, name);
 *   if (n.best) crcore_advise(err, "did you mean '%s'?", n.best);
 */
#ifndef CRCORE_NEAREST_H
#define CRCORE_NEAREST_H

struct nearest {
	const char *word;
	const char *best;     /* NULL: none is near */
	unsigned distance;    /* of best, in edits */
};
#define NEAREST_INIT(w) { (w), NULL, 0 }

void nearest_try(struct nearest *, const char *name);
#endif
