/* SPDX-License-Identifier: Apache-2.0 */
/* For a process that was forked to hold a few descriptors, and must not hold any other. */
#ifndef CRCORE_UTIL_KEEP_H
#define CRCORE_UTIL_KEEP_H

/* Closes all descriptors but these n; sorts them. */
void keep_only(int *fds, unsigned n);
#endif
