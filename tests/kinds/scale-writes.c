/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 64 MiB of memory (or argv[2] MiB) of which 20 MiB/s (or argv[3]) are written to all the
 * time, page after page in an order without pattern, by two threads. Each write changes two
 * pages far apart, the first before the second: at no moment do they differ by more than one.
 */
#include "kind.h"
#include <pthread.h>
#include <sys/mman.h>

enum { SIZE = 4096, THREADS = 2, BURST_MS = 5 };

static char *v;
static size_t pairs;
static unsigned long per_burst;

static volatile uint64_t *word(size_t page)
{
	return (volatile uint64_t *)(void *)(v + page * SIZE + page % 500 * 8);
}

static void check_pair(size_t i)
{
	uint64_t a = *word(i), b = *word(i + pairs);

	if (a - b > 1)
		kind_fail("pages %zu and %zu hold %llu and %llu", i, i + pairs,
		          (unsigned long long)a, (unsigned long long)b);
}

static void *write_on(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;

	while (!kind_over()) {
		for (unsigned long n = 0; n < per_burst; n++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			/* each thread has pairs of its own */
			size_t i = (size_t)(seed >> 33) % (pairs / THREADS) * THREADS + (uintptr_t)arg;
			check_pair(i);
			CHECK_EQ(*word(i), *word(i + pairs));
			(*word(i))++;
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
			(*word(i + pairs))++;
		}
		kind_sleep_ms(BURST_MS);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	size_t pages = (size_t)(argc > 2 ? atoi(argv[2]) : 64) << 8;
	unsigned long rate = argc > 3 ? strtoul(argv[3], NULL, 10) : 20;
	pthread_t thread[THREADS];

	kind_init(argc, argv);
	pairs = pages / 2;
	per_burst = (rate << 8) * BURST_MS / 1000 / 2 / THREADS;
	v = mmap(NULL, pages * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	for (size_t i = 0; i < pages; i++) {
		for (uint64_t k = 0; k < SIZE / 8; k++)
			((uint64_t *)(void *)(v + i * SIZE))[k] = (i << 12 | k) * 0x9e3779b97f4a7c15u;
		*word(i) = i % pairs;
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, write_on, (void *)i));
	kind_busy();
	kind_ready();
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	for (size_t i = 0; i < pages; i++)
		for (uint64_t k = 0; k < SIZE / 8; k++)
			if (k != i % 500 &&
			    ((uint64_t *)(void *)(v + i * SIZE))[k] != (i << 12 | k) * 0x9e3779b97f4a7c15u)
				kind_fail("word %zu of page %zu differs", (size_t)k, i);
	for (size_t i = 0; i < pairs; i++)
		CHECK_EQ(*word(i), *word(i + pairs));
	kind_pass();
}
