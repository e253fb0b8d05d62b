/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters that only move while their thread runs, in a file that others can read:
 * a thread that is paused has not executed a single step if its counter stands
 * still. Three processes of three threads each; each counter is kept twice, in the
 * file and in private memory.
 */
#include <pthread.h>
#include <sys/mman.h>
#include "kind.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif
#define PROCESSES 3
#define THREADS 3

static volatile uint64_t *counters;

static void *count(void *arg)
{
	volatile uint64_t *mine = arg;
	uint64_t n = 0;

	do {
		for (int i = 0; i < 1000; i++) {
			CHECK_EQ(*mine, n);
			*mine = ++n;
		}
		usleep(100);
	} while (!kind_over());
	return NULL;
}

static int process(void *arg)
{
	volatile uint64_t *first = arg;
	pthread_t t[THREADS];

	if (first == counters + THREADS) /* one of them may have no writable code, if the kernel can */
		prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
	for (int i = 1; i < THREADS; i++)
		CHECK(!pthread_create(&t[i], NULL, count, (void *)(first + i)));
	count((void *)first);
	for (int i = 1; i < THREADS; i++)
		CHECK(!pthread_join(t[i], NULL));
	return 0;
}

int main(int argc, char **argv)
{
	pid_t child[PROCESSES];

	kind_init(argc, argv);
	kind_busy();
	int fd = open(kind_path("count"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !ftruncate(fd, 4096));
	counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(counters != MAP_FAILED);
	close(fd);
	for (int i = 1; i < PROCESSES; i++)
		child[i] = kind_fork(process, (void *)(counters + i * THREADS));
	for (int i = 1; i < PROCESSES; i++)
		while (!counters[i * THREADS + THREADS - 1])
			usleep(1000);
	kind_announce();
	process((void *)counters);
	for (int i = 1; i < PROCESSES; i++)
		kind_join(child[i]);
	kind_pass();
}
