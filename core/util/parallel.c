/* SPDX-License-Identifier: Apache-2.0 */
/* See parallel.h. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "core/util/parallel.h"
#include "core/util/util.h"

#define THREADS_MAX 16
#define CHUNKS_PER_THREAD 3 /* at least: starting one takes that long */
#define LONG 64             /* threads' worth: it takes longer than to get a processor */
#define BRIEFLY 4           /* descriptors that a thread has beside those that stay */

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
	int last = first < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, first + (int)n + THREADS_MAX * BRIEFLY);

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

/* To ask libc takes it three system calls each time. */
static long processors(void)
{
	static atomic_long n;

	if (!n)
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n;
}

bool threads_of_machine(long *running, long *all)
{
	cleanup_close int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return sscanf(text, "%*s %*s %*s %ld/%ld", running, all) == 2;
}

/* Does somebody wait for a processor? Another thread of ours would, too, and we for its end: on a
 * busy machine a short job is done sooner by one. */
static bool processors_are_short(void)
{
	long running, all;

	return threads_of_machine(&running, &all) && running > processors();
}

/* The scheduler may leave a new thread on our processor, or bring it there, and both take turns
 * for as long as a short job lasts, while another processor idles. */
static void keep_off_ours(pthread_attr_t *attr)
{
	int ours = sched_getcpu();
	cpu_set_t set;

	if (ours < 0 || ours >= CPU_SETSIZE || sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	CPU_CLR(ours, &set);
	if (CPU_COUNT(&set))
		pthread_attr_setaffinity_np(attr, sizeof(set), &set);
}

static unsigned start_threads(struct job *j, unsigned n, bool is_short, pthread_t *ret)
{
	unsigned started = 0;
	pthread_attr_t attr;
	sigset_t all, old;

	if (!n || pthread_attr_init(&attr))
		return 0;
	if (is_short)
		keep_off_ours(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (started < n && !pthread_create(&ret[started], &attr, work, j))
		started++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return started;
}

/* worth: so many threads. */
static void do_job(struct job *j, size_t worth)
{
	unsigned started, want = parallel_threads(worth, THREADS_MAX);
	const bool is_short = worth < LONG;
	pthread_t threads[THREADS_MAX];

	if (want > 1 && is_short && processors_are_short())
		want = 1;
	atomic_init(&j->next, 0);
	started = start_threads(j, want - 1, is_short, threads);
	work(j);
	while (started)
		pthread_join(threads[--started], NULL);
}

void parallel(size_t n, size_t chunk, void (*fn)(void *arg, size_t from, size_t to), void *arg)
{
	struct job j = { .n = n, .chunk = chunk, .fn = fn, .arg = arg };

	do_job(&j, n / chunk / CHUNKS_PER_THREAD);
}

struct trial {
	int (*fn)(void *arg, size_t from, size_t to, struct crcore_error *err);
	void *arg;
	pthread_mutex_t lock;
	atomic_int r;
	struct crcore_error err;
};

static void try_range(void *arg, size_t from, size_t to)
{
	struct trial *t = arg;
	struct crcore_error err = CRCORE_ERROR_INIT;
	int r = atomic_load(&t->r) < 0 ? 0 : t->fn(t->arg, from, to, &err);

	if (r >= 0)
		return;
	pthread_mutex_lock(&t->lock);
	if (atomic_load(&t->r) == 0) {
		t->err = err;
		atomic_store(&t->r, r);
	}
	pthread_mutex_unlock(&t->lock);
}

int parallel_try(size_t n, size_t chunk, int (*fn)(void *arg, size_t from, size_t to,
                                                   struct crcore_error *err),
                 void *arg, struct crcore_error *err)
{
	struct trial t = { .fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER };

	parallel(n, chunk, try_range, &t);
	if (t.r < 0 && err && !err->code)
		*err = t.err;
	return t.r;
}

void parallel_few(size_t n, void (*fn)(void *arg, size_t from, size_t to), void *arg)
{
	struct job j = { .n = n, .chunk = 1, .fn = fn, .arg = arg };

	do_job(&j, n);
}
