/* SPDX-License-Identifier: Apache-2.0 */
/* See parallel.h. */
#include <fcntl.h>
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

void parallel_room(int fd, unsigned n)
{
	int first = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int last = first < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, first + (int)n);

	if (first >= 0)
		close(first);
	if (last >= 0)
		close(last);
}

unsigned parallel_threads(size_t worth, unsigned max)
{
	cpu_set_t set;
	unsigned n = worth < max ? (unsigned)worth : max, have = 1;

	if (n > 1 && sched_getaffinity(0, sizeof(set), &set) == 0)
		have = (unsigned)CPU_COUNT(&set);
	n = n < have ? n : have;
	return n ? n : 1;
}

size_t parallel_chunk(size_t n, size_t worth)
{
	size_t chunks = (worth ? worth : 1) * CHUNKS_PER_THREAD;

	return n < chunks ? 1 : n / chunks;
}

void parallel(size_t n, size_t chunk, void (*fn)(void *arg, size_t from, size_t to), void *arg)
{
	struct job j = { .n = n, .chunk = chunk, .fn = fn, .arg = arg };
	pthread_t threads[THREADS_MAX];
	unsigned want = parallel_threads(n / chunk / CHUNKS_PER_THREAD, THREADS_MAX), started = 0;
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
