/* SPDX-License-Identifier: Apache-2.0 */
/* The same for many things, by as many threads as there are processors; what does not take long
 * by one, if others wait for the processors already. */
#ifndef CRCORE_UTIL_PARALLEL_H
#define CRCORE_UTIL_PARALLEL_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Calls fn(arg, from, to) for ranges of at most chunk that make up [0, n), in any order
 * and at the same time; returns when all are done. chunk (> 0): so many that some of
 * them make another thread worth its while. fn keeps its result in what arg points to,
 * and touches nothing that another call may. The threads take no signals. Cannot fail:
 * without threads it takes longer.
 */
void parallel(size_t n, size_t chunk, void (*fn)(void *arg, size_t from, size_t to), void *arg);

/* The same with a fn that may fail, with a negative errno and a filled err. What has not begun
 * after the first failure is left out; that failure is returned. */
int parallel_try(size_t n, size_t chunk, int (*fn)(void *arg, size_t from, size_t to,
                                                   struct crcore_error *err),
                 void *arg, struct crcore_error *err);

/* The same for a few things of which each is worth a thread. */
void parallel_few(size_t n, void (*fn)(void *arg, size_t from, size_t to), void *arg);

/* The chunk with which n things that are worth so many threads together are done by them. */
size_t parallel_chunk(size_t n, size_t worth);

/* Beforehand, if the threads open descriptors that stay: makes room for n more than there are, and
 * for the few that each thread opens for a moment. A table that grows while several threads have it
 * costs 10 ms and more each time. fd: any. */
void parallel_room(int fd, unsigned n);

/* How many threads are worth starting for something that is worth that many: one for each
 * processor that we may use, at most max, and at least 1. */
unsigned parallel_threads(size_t worth, unsigned max);

/* How many threads of the machine run at this moment or wait for a processor, the caller among
 * them, and how many there are (proc_loadavg(5)). false: cannot be told. */
bool threads_of_machine(long *running, long *all);
#endif
