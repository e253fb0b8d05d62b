/* SPDX-License-Identifier: Apache-2.0 */
/* See parallel.h. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include "core/util/parallel.h"
#include "core/util/util.h"

#define THREADS_MAX 16
#define CHUNKS_PER_THREAD 3 /* at least: starting one takes that long */

struct job {
	size_t n, chunk;
	atomic_size_t next;
	void (*fn)(void *arg, size_t from, size_t to);
	void *arg;
};

static void *work(void *arg)
{
	struct job *j = arg;
	size_t from;

	while ((from = atomic_fetch_add(&j->next, j->chunk)) < j->n)
		j->fn(j->arg, from, j->n - from < j->chunk ? j->n : from + j->chunk);
	return NULL;
}

static unsigned count_threads(size_t worth)
{
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);

	n = n < THREADS_MAX ? n : THREADS_MAX;
	return worth < n ? (unsigned)worth : n;
}

void parallel(size_t n, size_t chunk, void (*fn)(void *arg, size_t from, size_t to), void *arg)
{
	struct job j = { .n = n, .chunk = chunk, .fn = fn, .arg = arg };
	pthread_t threads[THREADS_MAX];
	unsigned want = count_threads(n / chunk / CHUNKS_PER_THREAD), started = 0;
	sigset_t all, old;

	atomic_init(&j.next, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (started + 1 < want && !pthread_create(&threads[started], NULL, work, &j))
		started++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	work(&j);
	while (started)
		pthread_join(threads[--started], NULL);
}
