/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress of long work: a line on a terminal that overwrites itself. For loops
 * deep in the stages; one thread at a time may call it.
 */
#ifndef CRCORE_PROGRESS_H
#define CRCORE_PROGRESS_H

#include <stdint.h>

/* Progress after a second: "dump: saving memory 41%". total 0: no percentage.
 * NULL what: erase. Only on stderr, only if that is a terminal. */
void progress(const char *what, uint64_t done, uint64_t total);

#endif
