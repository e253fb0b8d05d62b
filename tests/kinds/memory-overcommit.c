/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings that have grown, piece by piece, beyond the memory of the machine: the kernel lets nobody
 * map so much in one call (vm.overcommit_memory 0). Of a parent and of a child, and of what was
 * protected since.
 */
#include "kind.h"
#include <sys/mman.h>

enum { PIECES = 5, EVERY = 3 };

static uint64_t piece;

/* PIECES times half of the memory, next to each other, with a few pages written. */
static unsigned char *grow(int seed)
{
	const size_t all = PIECES * piece;
	unsigned char *v = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(v != MAP_FAILED);
	CHECK(!munmap(v, all));
	for (int i = 0; i < PIECES; i++) {
		unsigned char *p = mmap(v + i * piece, piece, PROT_READ | PROT_WRITE,
		                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (p == MAP_FAILED && errno == ENOMEM)
			kind_skip("this kernel grants no more memory than there is");
		CHECK(p == v + i * piece);
		CHECK(!madvise(p, piece, MADV_NOHUGEPAGE));
		for (int k = 0; k < EVERY; k++)
			p[piece / EVERY * (unsigned)k] = (unsigned char)(seed + i * EVERY + k);
	}
	return v;
}

static void check(const unsigned char *v, int seed)
{
	for (int i = 0; i < PIECES; i++)
		for (int k = 0; k < EVERY; k++) {
			const unsigned char *p = v + i * piece + piece / EVERY * (unsigned)k;
			CHECK_EQ(*p, seed + i * EVERY + k);
			CHECK_EQ(p[8192], 0);
		}
	CHECK(kind_smaps(v, "Size") >= (long)(PIECES * piece / 1024));
}

static int child(void *arg)
{
	volatile int *ready = arg;
	unsigned char *v = grow(100);

	*ready = 1;
	kind_wait();
	check(v, 100);
	return 0;
}

int main(int argc, char **argv)
{
	int *ready = kind_shared(sizeof(*ready));

	kind_init(argc, argv);
	piece = (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 & ~511ULL;
	piece *= 4096;
	pid_t pid = kind_fork(child, ready);
	kind_until(ready, 1);
	unsigned char *v = grow(1), *read_only = grow(50);
	for (int i = 0; i < PIECES; i++)
		CHECK(!mprotect(read_only + i * piece, piece, PROT_READ));
	kind_ready();
	check(v, 1);
	check(read_only, 50);
	kind_join(pid);
	kind_pass();
}
