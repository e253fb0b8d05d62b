/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory that is loaded while programs run (restore --lazy): processes that have it at
 * different addresses, in parts, twice, write to it, fork, move, unmap, grow and empty their
 * mappings of it and throw pages away, at random (CRCORE_SEED). Of every page each process owns a
 * word and knows what is in it; all others change as their owners say; the rest is as it was
 * filled, or zero where there never was anything or a page was thrown away.
 */
#include "kind.h"
#include <sys/mman.h>
#include <sys/uio.h>

enum { SIZE = 4096, WORDS = SIZE / 8, PAGES = 8000, PROCS = 4, STEPS = 1500, PART = 100 };

/* GONE: pages of it are thrown away, by process 0 alone. */
enum { KEPT, GONE, NSEGMENTS };

static struct { int ready, go; unsigned char gone[PAGES]; } *all;
static uint64_t *segment[NSEGMENTS];
static uint64_t *part;          /* KEPT once more, from page PART on */
static uint32_t mine[PAGES];    /* how often we wrote our word */
static uint64_t dice_state;
static bool calm;               /* nothing is thrown away */
static bool quiet;              /* all others have ended */

static unsigned dice(unsigned below)
{
	dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(dice_state >> 33) % below;
}

static bool is_hole(unsigned page)
{
	return page % 7 == 3 || (page > 2000 && page < 2300);
}

static uint64_t word(int s, unsigned page, unsigned i)
{
	return is_hole(page) ? 0 : ((uint64_t)page * WORDS + i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)s << 60;
}

static uint64_t written(unsigned page, int who, uint32_t times)
{
	return times ? ~((uint64_t)page << 40 | (uint64_t)who << 32 | times) :
	               word(KEPT, page, (unsigned)who);
}

static void differs(int s, unsigned page, unsigned i, const void *at, uint64_t is, uint64_t was)
{
	kind_fail("segment %d, page %u, word %u at %p: %#llx, not %#llx", s, page, i, at,
	          (unsigned long long)is, (unsigned long long)was);
}

/* who: whose words we know; -1: nobody's. */
static void verify(int s, unsigned page, const uint64_t *at, int who)
{
	const bool gone = s == GONE && __atomic_load_n(&all->gone[page], __ATOMIC_SEQ_CST);

	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t is = __atomic_load_n(&at[i], __ATOMIC_SEQ_CST), was = gone ? 0 : word(s, page, i);
		if (s == KEPT && i < PROCS && (int)i != who)
			continue; /* it may be changing */
		if (s == KEPT && (int)i == who)
			was = written(page, who, mine[page]);
		if (is != was && (s == KEPT || is || quiet)) /* it may just be going */
			differs(s, page, i, &at[i], is, was);
	}
}

static void write_own(unsigned page, uint64_t *at, int who)
{
	uint64_t was = __atomic_exchange_n(&at[who], written(page, who, mine[page] + 1),
	                                   __ATOMIC_SEQ_CST);

	if (was != written(page, who, mine[page]))
		differs(KEPT, page, (unsigned)who, at + who, was, written(page, who, mine[page]));
	mine[page]++;
}

static uint64_t *page_of(int s, unsigned page)
{
	return segment[s] + (size_t)page * WORDS;
}

/* ---- what a process does ------------------------------------------------------------------- */

static uint64_t *move(uint64_t *p, size_t pages)
{
	void *to = mmap(NULL, pages * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(to != MAP_FAILED);
	CHECK(mremap(p, pages * SIZE, pages * SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	return to;
}

/* Half of what is mapped once more goes away and comes back by growing. */
static void twice(int who)
{
	const unsigned first = dice(PAGES - 64), n = 2 + dice(60);
	uint64_t *p = mremap(page_of(KEPT, first), 0, n * SIZE, MREMAP_MAYMOVE), *q;

	CHECK(p != MAP_FAILED);
	verify(KEPT, first, p, who);
	CHECK(!munmap(p + (size_t)n / 2 * WORDS, (n - n / 2) * SIZE));
	q = mremap(p, n / 2 * SIZE, n * SIZE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	verify(KEPT, first + n - 1, q + (size_t)(n - 1) * WORDS, who);
	write_own(first + n - 1, q + (size_t)(n - 1) * WORDS, who);
	CHECK(!munmap(q, n * SIZE));
}

static int grandchild(void *arg)
{
	const int who = (int)(intptr_t)arg;

	for (int i = 0; i < 60; i++) {
		unsigned page = dice(PAGES);
		verify(KEPT, page, page_of(KEPT, page), who);
		verify(GONE, page, page_of(GONE, page), -1);
	}
	segment[KEPT] = move(segment[KEPT], PAGES);
	CHECK(!munmap(page_of(KEPT, PAGES / 2), (size_t)PAGES / 2 * SIZE));
	for (int i = 0; i < 60; i++) {
		unsigned page = dice(PAGES / 2);
		verify(KEPT, page, page_of(KEPT, page), who);
	}
	return 0;
}

static void through_the_kernel(int who)
{
	static uint64_t copy[WORDS];
	const unsigned page = dice(PAGES);
	struct iovec to = { copy, SIZE }, from = { page_of(KEPT, page), SIZE };

	CHECK_EQ(process_vm_readv(getpid(), &to, 1, &from, 1, 0), SIZE);
	verify(KEPT, page, copy, who);
}

static void throw_away(int who)
{
	const unsigned page = dice(PAGES), n = 1 + dice(page + 4 < PAGES ? 4 : 1);

	if (calm)
		return;
	if (who == 0 && dice(3) == 0) {
		CHECK(!madvise(page_of(GONE, page), n * SIZE, MADV_REMOVE));
		for (unsigned i = page; i < page + n; i++)
			__atomic_store_n(&all->gone[i], 1, __ATOMIC_SEQ_CST);
		verify(GONE, page, page_of(GONE, page), -1);
	} else {
		CHECK(!madvise(page_of(KEPT, page), n * SIZE, MADV_DONTNEED)); /* only of our mapping */
		verify(KEPT, page, page_of(KEPT, page), who);
	}
}

static void step(int who)
{
	const unsigned page = dice(PAGES), what = dice(100);

	if (what < 70) {
		write_own(page, page_of(KEPT, page), who);
		verify(KEPT, page, page_of(KEPT, page), who);
	} else if (what < 80) {
		verify(GONE, page, page_of(GONE, page), -1);
	} else if (what < 86) {
		through_the_kernel(who);
	} else if (what < 90) {
		throw_away(who);
	} else if (what < 94) {
		segment[KEPT] = move(segment[KEPT], PAGES);
	} else if (what < 97) {
		const unsigned k = page % (PAGES - PART);
		verify(KEPT, PART + k, part + (size_t)k * WORDS, who);
	} else if (what < 99) {
		twice(who);
	} else {
		kind_join(kind_fork(grandchild, (void *)(intptr_t)who));
	}
}

static void verify_all(int who)
{
	for (int s = 0; s < NSEGMENTS; s++)
		for (unsigned page = 0; page < PAGES; page++)
			verify(s, page, page_of(s, page), s == KEPT ? who : -1);
}

/* ---- processes ----------------------------------------------------------------------------- */

static void work(int who)
{
	const char *seed = getenv("CRCORE_SEED");

	dice_state = (seed ? strtoul(seed, NULL, 10) : 1) * 1000 + (uint64_t)who;
	for (int i = 0; i < STEPS; i++)
		step(who);
	verify_all(who);
}

/* What it has of the memory is elsewhere. */
static int process(void *arg)
{
	const int who = (int)(intptr_t)arg;

	segment[KEPT] = move(segment[KEPT], PAGES);
	__atomic_add_fetch(&all->ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&all->go, __ATOMIC_SEQ_CST))
		kind_sleep_ms(1);
	work(who);
	return 0;
}

static void fill(int s)
{
	segment[s] = kind_shared((size_t)PAGES * SIZE);
	for (unsigned page = 0; page < PAGES; page++)
		for (unsigned i = 0; !is_hole(page) && i < WORDS; i++)
			page_of(s, page)[i] = word(s, page, i);
}

int main(int argc, char **argv)
{
	pid_t parent = getppid(), pid[PROCS];

	kind_init(argc, argv);
	calm = argc > 2;
	all = kind_shared(sizeof(*all));
	for (int s = 0; s < NSEGMENTS; s++)
		fill(s);
	part = mremap(page_of(KEPT, PART), 0, (size_t)(PAGES - PART) * SIZE, MREMAP_MAYMOVE);
	CHECK(part != MAP_FAILED);
	for (int i = 1; i < PROCS; i++)
		pid[i] = kind_fork(process, (void *)(intptr_t)i);
	kind_until(&all->ready, PROCS - 1);
	kind_busy();
	kind_announce();
	while (getppid() == parent && !kind_over()) /* a restored one has another */
		kind_sleep_ms(1);
	__atomic_store_n(&all->go, 1, __ATOMIC_SEQ_CST);
	work(0);
	for (int i = 1; i < PROCS; i++)
		kind_join(pid[i]);
	quiet = true;
	verify_all(0);
	kind_wait();
	kind_pass();
}
