/* SPDX-License-Identifier: Apache-2.0 */
/* The same for many things, by as many threads as there are processors. */
#ifndef CRCORE_UTIL_PARALLEL_H
#define CRCORE_UTIL_PARALLEL_H

#include <stddef.h>

/*
 * Calls fn(arg, i) for each i below n, in any order and at the same time; returns
 * when all are done. worth: how many make another thread worth its while, > 0. fn
 * keeps its result in what arg points to, and touches nothing that another call may.
 * The threads take no signals. Cannot fail: without threads it takes longer.
 */
void parallel(size_t n, size_t worth, void (*fn)(void *arg, size_t i), void *arg);
#endif
