/* SPDX-License-Identifier: Apache-2.0 */
/* 100 MiB (or argv[2]) and 10 forks that share them copy-on-write. Each fork moves one
 * page elsewhere and changes two: contents are as they were, changes stay private. How
 * much memory it takes is looked at from outside (e2e/cow). */
#include "kind.h"
#include <sys/mman.h>

enum { FORKS = 10, SIZE = 4096 };

static volatile int *ready;
static unsigned char *v;
static size_t pages;

static unsigned char content(size_t page)
{
	return (unsigned char)(page * 13 % 251 + 1);
}

static void check_page(const unsigned char *p, unsigned char want, size_t page)
{
	for (unsigned i = 0; i < SIZE; i++)
		if (p[i] != want)
			kind_fail("byte %u of page %zu is %u, not %u", i, page, p[i], want);
}

static int forked(void *arg)
{
	size_t n = (size_t)arg, moved = 100 + n, changed = 300 + n, end = pages - 1 - n;
	unsigned char *to = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(to != MAP_FAILED);
	CHECK(mremap(v + moved * SIZE, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	memset(v + changed * SIZE, 255, SIZE);
	memset(v + end * SIZE, 254, SIZE);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	for (size_t i = 0; i < pages; i++)
		if (i != moved)
			check_page(v + i * SIZE, i == changed ? 255 : i == end ? 254 : content(i), i);
	check_page(to, content(moved), moved);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t child[FORKS];

	kind_init(argc, argv);
	pages = (size_t)(argc > 2 ? atoi(argv[2]) : 100) << 8;
	ready = kind_shared(4096);
	v = mmap(NULL, pages * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	CHECK(!madvise(v, pages * SIZE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < pages; i++)
		memset(v + i * SIZE, content(i), SIZE);
	for (long i = 0; i < FORKS; i++)
		child[i] = kind_fork(forked, (void *)i);
	kind_until(ready, FORKS);
	kind_ready();
	for (size_t i = 0; i < pages; i++)
		check_page(v + i * SIZE, content(i), i);
	for (int i = 0; i < FORKS; i++)
		kind_join(child[i]);
	kind_pass();
}
