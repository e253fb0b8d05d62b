/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of every sort that never rests, in one process with threads and in one that is
 * forked again and again: pages far apart that always agree, private memory that agrees
 * with shared memory, ranges that are mapped, moved, thrown away, grown and unmapped
 * against a model of what they hold. An image that is not of one instant shows.
 */
#include "kind.h"
#include <pthread.h>
#include <sys/mman.h>

enum { SIZE = 4096, AREA = 24 << 20, SLOTS = 48, SLOT_PAGES = 40, PAIRS = 2048 };

static char *area;                  /* pairs of pages, one at each end */
static volatile uint64_t *shared, *wiped;
static volatile int *children;
static struct slot { char *at; size_t pages; uint64_t seed; bool zero; } slots[SLOTS];

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	return x ^ x >> 29;
}

static volatile uint64_t *word(char *page, size_t i)
{
	return (volatile uint64_t *)(void *)page + i;
}

/* ---- pages far apart ------------------------------------------------------------- */

static void *pairs(void *arg)
{
	static volatile uint64_t local[2]; /* of the second thread: with what is shared */
	uint64_t n = 0;

	for (size_t i = (uintptr_t)arg; !kind_over(); n++) {
		i = (i + 1 + mix(n) % 7 * 2) % PAIRS;
		volatile uint64_t *a = word(area + i * SIZE, i % 256);
		volatile uint64_t *b = word(area + AREA - (i + 1) * SIZE, i % 256);
		if (i % 2 == (uintptr_t)arg) {
			CHECK_EQ(*a, *b);
			(*a)++;
			(*b)++;
		}
		if (arg) { /* shared memory, memory that forks do not see, and the heap agree */
			CHECK_EQ(*shared, local[0]);
			CHECK_EQ(*wiped, local[0]);
			++*shared;
			local[0]++;
			++*wiped;
		}
		if (n % 64 == 0)
			kind_sleep_ms(1);
	}
	return NULL;
}

/* ---- a model ------------------------------------------------------------------------ */

static uint64_t content(const struct slot *s, size_t page)
{
	return s->zero ? 0 : mix(s->seed + page);
}

static void check(const struct slot *s)
{
	for (size_t i = 0; i < s->pages; i++)
		CHECK_EQ(*word(s->at + i * SIZE, 7), content(s, i));
}

static void fill(struct slot *s, uint64_t seed)
{
	s->seed = seed;
	s->zero = false;
	for (size_t i = 0; i < s->pages; i++)
		*word(s->at + i * SIZE, 7) = content(s, i);
}

static void *map(size_t pages)
{
	void *p = mmap(NULL, pages * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void change(struct slot *s, uint64_t r)
{
	if (s->at)
		check(s);
	switch (s->at ? r % 6 : 0) {
	case 0: /* new, often where another was */
		if (s->at)
			CHECK(!munmap(s->at, s->pages * SIZE));
		s->pages = 1 + r / 8 % SLOT_PAGES;
		s->at = map(s->pages);
		fill(s, r);
		break;
	case 1:
		fill(s, r);
		break;
	case 2:
		CHECK(!madvise(s->at, s->pages * SIZE, MADV_DONTNEED));
		s->zero = true;
		break;
	case 3: { /* elsewhere, with its contents */
		char *to = map(s->pages);
		CHECK(mremap(s->at, s->pages * SIZE, s->pages * SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		             to) == to);
		s->at = to;
		break;
	}
	case 4:
		CHECK(!mprotect(s->at, s->pages * SIZE, r & 64 ? PROT_READ : PROT_READ | PROT_WRITE));
		CHECK(!mprotect(s->at, s->pages * SIZE, PROT_READ | PROT_WRITE));
		break;
	default: /* shorter */
		if (s->pages > 1) {
			s->pages--;
			CHECK(!munmap(s->at + s->pages * SIZE, SIZE));
		}
	}
}

static void *churn(void *arg)
{
	uint64_t seed = 1;

	while (!kind_over()) {
		for (int i = 0; i < 8; i++) {
			seed = mix(seed + 0x9e3779b97f4a7c15u);
			change(&slots[seed % SLOTS], seed / SLOTS);
		}
		kind_sleep_ms(1);
	}
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].at)
			check(&slots[i]);
	return NULL;
}

/* ---- forks --------------------------------------------------------------------------- */

/* Shares memory with its parent, changes some of it, and checks all in the end. */
static int child(void *arg)
{
	uint64_t n = (uint64_t)(uintptr_t)arg;
	char *own = area + AREA / 2;

	for (size_t i = 0; i < 16; i++)
		*word(own + mix(n + i) % 256 * SIZE, 9) = n + i;
	__atomic_add_fetch(children, 1, __ATOMIC_SEQ_CST);
	kind_sleep_ms(20);
	for (size_t i = 0; i < 256; i++)
		CHECK_EQ(*word(own + i * SIZE, 7), i);
	for (size_t i = 0; i < PAIRS; i++)
		CHECK(*word(area + i * SIZE, i % 256) - *word(area + AREA - (i + 1) * SIZE, i % 256) <= 1);
	return *word(own + mix(n + 15) % 256 * SIZE, 9) != n + 15;
}

int main(int argc, char **argv)
{
	pthread_t t[3];
	uint64_t forks = 0;

	kind_init(argc, argv);
	area = map(AREA / SIZE);
	CHECK(!madvise(area + AREA / 3 / SIZE * SIZE, 64 * SIZE, MADV_RANDOM));
	CHECK(!mlock(area, 16 * SIZE));
	shared = kind_shared(SIZE);
	children = (volatile int *)(shared + 8);
	wiped = map(1);
	CHECK(!madvise((void *)(uintptr_t)wiped, SIZE, MADV_DONTFORK));
	for (size_t i = 0; i < AREA / SIZE; i++)
		*word(area + i * SIZE, 511) = i;
	for (size_t i = 0; i < 256; i++)
		*word(area + AREA / 2 + i * SIZE, 7) = i;
	for (uintptr_t i = 0; i < 2; i++)
		CHECK(!pthread_create(&t[i], NULL, pairs, (void *)i));
	CHECK(!pthread_create(&t[2], NULL, churn, NULL));
	kind_busy();
	kind_announce();
	while (!kind_over())
		kind_join(kind_fork(child, (void *)(uintptr_t)++forks));
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(t[i], NULL));
	CHECK_EQ(*children, forks);
	for (size_t i = 0; i < AREA / SIZE; i++)
		CHECK_EQ(*word(area + i * SIZE, 511), i);
	for (size_t i = 0; i < PAIRS; i++)
		CHECK_EQ(*word(area + i * SIZE, i % 256), *word(area + AREA - (i + 1) * SIZE, i % 256));
	kind_pass();
}
