/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy-on-write sharing between a parent that goes on writing and children that
 * write, move, swap, throw away and unmap what they inherited, and a grandchild.
 * Each pair of pages that was one physical page is one again: frame numbers, as
 * /proc/PID/pagemap tells them to root, are compared among all processes.
 */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096, PAGES = 256, KIDS = 6, PROCS = KIDS + 2 };

/* What each process has where, kept in shared memory: [process][page] = address or 0. */
static struct { uintptr_t at[PROCS][PAGES]; pid_t pid[PROCS]; unsigned char content[PROCS][PAGES]; } *all;
static volatile int *ready;
static unsigned char *v;

static void write_page(int who, int page, int value)
{
	unsigned char *p = (unsigned char *)all->at[who][page];

	memset(p, value, SIZE);
	all->content[who][page] = (unsigned char)value;
}

static void inherit(int who, int from)
{
	memcpy(all->at[who], all->at[from], sizeof(all->at[who]));
	memcpy(all->content[who], all->content[from], sizeof(all->content[who]));
	all->pid[who] = getpid();
}

static void move(int who, int page, int n, unsigned char *to)
{
	CHECK(mremap((void *)all->at[who][page], (size_t)n * SIZE, (size_t)n * SIZE,
	             MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	for (int i = 0; i < n; i++)
		all->at[who][page + i] = (uintptr_t)to + (uintptr_t)i * SIZE;
}

static void change(int who)
{
	unsigned char *room = mmap(NULL, PAGES * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(room != MAP_FAILED);
	for (int i = 0; i < 5; i++)
		write_page(who, (who * 37 + i * 11) % 100, 100 + who * 5 + i);
	if (who == 1)
		move(who, 200, 1, room);
	if (who == 2) { /* two areas change places */
		move(who, 100, 20, room + 32 * SIZE);
		move(who, 150, 20, v + 100 * SIZE);
		move(who, 100, 20, v + 150 * SIZE);
	}
	if (who == 3) { /* one page on */
		move(who, 100, 20, room);
		move(who, 100, 20, v + 101 * SIZE);
		all->at[who][120] = 0;
	}
	if (who == 4) {
		CHECK(!madvise(v + 60 * SIZE, 10 * SIZE, MADV_DONTNEED));
		CHECK(!munmap(v + 80 * SIZE, 7 * SIZE));
		for (int i = 60; i < 87; i++)
			if (i < 70 || i >= 80)
				all->at[who][i] = 0;
	}
	if (who == 5) {
		CHECK(!mprotect(v + 120 * SIZE, 10 * SIZE, PROT_READ));
		CHECK(!mprotect(v + 130 * SIZE, 10 * SIZE, PROT_NONE));
		CHECK(!mprotect(v + 140 * SIZE, 10 * SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
		CHECK(!mprotect(v + 150 * SIZE, 10 * SIZE, PROT_READ | PROT_EXEC));
		CHECK(!madvise(v + 160 * SIZE, 10 * SIZE, MADV_HUGEPAGE));
		CHECK(!madvise(v + 170 * SIZE, 10 * SIZE, MADV_DONTFORK));
		CHECK(!mlock(v + 180 * SIZE, SIZE));
	}
}

static void check_contents(int who)
{
	if (who == 5)
		CHECK(!mprotect(v + 130 * SIZE, 10 * SIZE, PROT_READ));
	for (int i = 0; i < PAGES; i++) {
		const unsigned char *p = (const unsigned char *)all->at[who][i];
		for (int k = 0; p && k < SIZE; k += 511)
			if (p[k] != all->content[who][i])
				kind_fail("process %d: page %d is %d, not %d", who, i, p[k],
				          all->content[who][i]);
	}
}

static int grandchild(void *arg)
{
	inherit(PROCS - 1, KIDS);
	write_page(PROCS - 1, 3, 77);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	kind_until(ready, 2 * PROCS);
	check_contents(PROCS - 1);
	return 0;
}

static int kid(void *arg)
{
	int who = (int)(long)arg;
	pid_t pid = 0;

	inherit(who, 0);
	change(who);
	if (who == KIDS)
		pid = kind_fork(grandchild, NULL);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	kind_until(ready, 2 * PROCS);
	check_contents(who);
	if (pid)
		kind_join(pid);
	return 0;
}

static uint64_t frame(int who, int page)
{
	char path[64];
	uint64_t e = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", all->pid[who]);
	int fd = open(path, O_RDONLY);
	if (!all->at[who][page])
		e = (uint64_t)who << 40 | 1;
	else
		CHECK_EQ(pread(fd, &e, 8, (off_t)(all->at[who][page] / SIZE * 8)), 8);
	close(fd);
	return e & ((1ull << 55) - 1);
}

/* For each page, which processes have it together: bit [a][b]. */
static void look(unsigned char share[PAGES][PROCS][PROCS])
{
	static uint64_t f[PROCS];

	for (int i = 0; i < PAGES; i++) {
		for (int a = 0; a < PROCS; a++)
			f[a] = frame(a, i);
		for (int a = 0; a < PROCS; a++)
			for (int b = 0; b < PROCS; b++)
				share[i][a][b] = f[a] && f[a] == f[b];
	}
}

int main(int argc, char **argv)
{
	static unsigned char before[PAGES][PROCS][PROCS], after[PAGES][PROCS][PROCS];
	pid_t pid[KIDS + 1];

	kind_init(argc, argv);
	all = kind_shared(sizeof(*all));
	ready = kind_shared(4096);
	v = mmap(NULL, PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v != MAP_FAILED);
	CHECK(!madvise(v, PAGES * SIZE, MADV_NOHUGEPAGE));
	all->pid[0] = getpid();
	for (int i = 0; i < PAGES; i++) {
		all->at[0][i] = (uintptr_t)v + (uintptr_t)i * SIZE;
		write_page(0, i, i % 99 + 1);
	}
	for (long who = 1; who <= KIDS; who++) {
		pid[who] = kind_fork(kid, (void *)who);
		kind_until(ready, (int)who + (who == KIDS));
		if (who % 2 == 0) /* pairs of kids have what the parent replaces now */
			for (int i = 0; i < 10; i++)
				write_page(0, 10 + (int)who * 3 + i, 200 + (int)who);
	}
	CHECK(!mprotect(v + 210 * SIZE, 10 * SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK(!mprotect(v + 220 * SIZE, 10 * SIZE, PROT_NONE));
	look(before);
	kind_ready();
	look(after);
	for (int i = 0; i < PAGES; i++)
		for (int a = 0; a < PROCS; a++)
			for (int b = 0; b < PROCS; b++)
				if (before[i][a][b] != after[i][a][b])
					kind_fail("page %d of processes %d and %d: %s", i, a, b,
					          after[i][a][b] ? "now one" : "no longer one");
	__atomic_store_n(ready, 2 * PROCS, __ATOMIC_SEQ_CST);
	CHECK(!mprotect(v + 220 * SIZE, 10 * SIZE, PROT_READ));
	check_contents(0);
	for (int who = 1; who <= KIDS; who++)
		kind_join(pid[who]);
	kind_pass();
}
