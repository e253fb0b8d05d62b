/* SPDX-License-Identifier: Apache-2.0 */
/* See parallel.h. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include "core/util/parallel.h"
#include "core/util/util.h"

#define THREADS_MAX 16
#define CHUNK 32 /* taken at a time */

struct job {
	size_t n;
	atomic_size_t next;
	void (*fn)(void *arg, size_t i);
	void *arg;
};

static void *work(void *arg)
{
	struct job *j = arg;
	size_t i;

	while ((i = atomic_fetch_add(&j->next, CHUNK)) < j->n)
		for (size_t end = i + CHUNK < j->n ? i + CHUNK : j->n; i < end; i++)
			j->fn(j->arg, i);
	return NULL;
}

static unsigned count_threads(size_t worth)
{
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);

	n = n < THREADS_MAX ? n : THREADS_MAX;
	return worth < n ? (unsigned)worth : n;
}

void parallel(size_t n, size_t worth, void (*fn)(void *arg, size_t i), void *arg)
{
	struct job j = { .n = n, .fn = fn, .arg = arg };
	pthread_t threads[THREADS_MAX];
	unsigned want = count_threads(n / worth), started = 0;
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
