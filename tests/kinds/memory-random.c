/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree whose processes, one after the other and in the midst of forking, map,
 * unmap, write, move, protect and throw away memory at random (CRCORE_SEED).
 * The root looks at all of it from outside: every page holds what it held, pages
 * are shared exactly as they were, and no mapping is in parts that was one.
 * (Neighbours that the kernel happened to keep apart may have become one, so
 * run-kind does not compare.)
 */
#include "kind.h"
#include <sys/mman.h>
#include <sys/uio.h>

enum { SIZE = 4096, PAGES = 128, PROCS = 16, DEPTH = 4 };

struct page { uint64_t frame, sum; bool begins; /* a mapping */ };

static struct {
	uint64_t random;
	uint32_t stamp;
	int n;
	pid_t pid[PROCS];      /* 0: has exited */
	bool done[PROCS];
} *all;
static unsigned char *window;
static int file;

static unsigned dice(unsigned below)
{
	all->random = all->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(all->random >> 33) % below;
}

/* Writes what can be written. */
static void scribble(unsigned char *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t stamp = ++all->stamp;
		struct iovec from = { &stamp, sizeof(stamp) }, to = { p + i * SIZE, sizeof(stamp) };
		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) < 0)
			CHECK(errno == EFAULT);
	}
}

static void act(void)
{
	unsigned page = dice(PAGES), n = 1 + dice(12), what = dice(12);
	static const int prot[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC };
	unsigned char *p = window + page * SIZE;

	if (page + n > PAGES)
		n = PAGES - page;
	if (what == 0)
		mmap(p, n * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else if (what == 1)
		mmap(p, n * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, dice(8) * SIZE);
	else if (what == 2 && dice(3) == 0)
		mmap(p, n * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else if (what == 3)
		munmap(p, n * SIZE);
	else if (what == 4)
		mprotect(p, n * SIZE, prot[dice(5)]);
	else if (what == 5)
		madvise(p, n * SIZE, MADV_DONTNEED);
	else if (what == 6)
		mremap(p, n * SIZE, n * SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, window + dice(PAGES - n + 1) * SIZE);
	else
		scribble(p, n);
}

static int process(void *arg);

static void give_birth(long depth)
{
	long i = all->n++;
	pid_t pid = kind_fork(process, (void *)(i << 8 | (depth + 1)));

	while (!__atomic_load_n(&all->done[i], __ATOMIC_SEQ_CST))
		kind_sleep_ms(1);
	if (!all->pid[i])
		kind_join(pid);
}

static void live(long depth)
{
	for (unsigned i = 20 + dice(30); i > 0; i--) {
		act();
		if (dice(7) == 0 && depth < DEPTH && all->n < PROCS)
			give_birth(depth);
	}
}

static int process(void *arg)
{
	long i = (long)arg >> 8, depth = (long)arg & 255;
	int before = all->n;

	all->pid[i] = getpid();
	live(depth);
	if (all->n == before && dice(4) == 0)
		all->pid[i] = 0;
	__atomic_store_n(&all->done[i], true, __ATOMIC_SEQ_CST);
	if (!all->pid[i])
		return 0;
	kind_wait();
	pause();
	return 0;
}

static void look_at_bounds(pid_t pid, struct page *ret)
{
	char line[512];
	unsigned long start;

	snprintf(line, sizeof(line), "/proc/%d/maps", pid);
	FILE *f = fopen(line, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-", &start) == 1 && start >= (uintptr_t)window &&
		    start < (uintptr_t)window + PAGES * SIZE)
			ret[(start - (uintptr_t)window) / SIZE].begins = true;
	fclose(f);
}

static void look(int who, struct page *ret)
{
	char path[64];
	uint64_t entries[PAGES];
	unsigned char bytes[SIZE];

	memset(ret, 0, PAGES * sizeof(*ret));
	if (!all->pid[who])
		return;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", all->pid[who]);
	int map = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%d/mem", all->pid[who]);
	int mem = open(path, O_RDONLY);
	CHECK_EQ(pread(map, entries, sizeof(entries), (off_t)((uintptr_t)window / SIZE * 8)),
	         sizeof(entries));
	for (int i = 0; i < PAGES; i++) {
		if (pread(mem, bytes, SIZE, (off_t)(uintptr_t)(window + i * SIZE)) == SIZE) {
			ret[i].sum = 1;
			for (int k = 0; k < SIZE; k++)
				ret[i].sum = ret[i].sum * 31 + bytes[k];
		}
		if (ret[i].sum && !(entries[i] >> 61 & 1)) /* not a page of a file */
			ret[i].frame = entries[i] & ((1ull << 55) - 1);
	}
	close(map);
	close(mem);
	look_at_bounds(all->pid[who], ret);
}

static bool is_zero(uint64_t sum)
{
	static uint64_t zero;

	if (!zero) {
		zero = 1;
		for (int k = 0; k < SIZE; k++)
			zero *= 31;
	}
	return sum == zero;
}

static struct page before[PROCS][PAGES], after[PROCS][PAGES];

static void compare(int a, int i, int b, int k)
{
	const struct page *pa = &before[a][i], *pb = &before[b][k];
	bool was = pa->frame && pa->frame == pb->frame;
	bool is = after[a][i].frame && after[a][i].frame == after[b][k].frame;

	/* pages of zeros need not come back as pages at all */
	if (was != is && !is_zero(pa->sum) && !is_zero(pb->sum))
		kind_fail("page %d of process %d and page %d of process %d: %s", i, a, k, b,
		          is ? "now one" : "no longer one");
}

int main(int argc, char **argv)
{
	const char *seed = getenv("CRCORE_SEED");
	char page[SIZE];

	kind_init(argc, argv);
	kind_busy();
	all = kind_shared(sizeof(*all));
	all->random = seed ? strtoul(seed, NULL, 10) : 1;
	file = open(kind_path("data"), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < PAGES + 16; i++) {
		memset(page, 'a' + i % 26, SIZE);
		CHECK_EQ(write(file, page, SIZE), SIZE);
	}
	window = mmap(NULL, PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(window != MAP_FAILED);
	madvise(window, PAGES * SIZE, MADV_NOHUGEPAGE);
	all->pid[all->n++] = getpid();
	live(0);
	for (int p = 0; p < all->n; p++)
		look(p, before[p]);
	printf("%d processes, seed %s\n", all->n, seed ? seed : "1");
	fflush(stdout);
	kind_ready();
	for (int p = 0; p < all->n; p++)
		look(p, after[p]);
	for (int a = 0; a < all->n; a++)
		for (int i = 0; i < PAGES; i++) {
			if (before[a][i].sum != after[a][i].sum)
				kind_fail("page %d of process %d holds something else", i, a);
			if (after[a][i].begins && !before[a][i].begins)
				kind_fail("process %d has a mapping in parts at page %d", a, i);
			for (int b = 0; b < a; b++)
				for (int k = 0; k < PAGES; k++)
					compare(a, i, b, k);
		}
	for (int p = 1; p < all->n; p++)
		if (all->pid[p])
			kill(all->pid[p], SIGKILL);
	while (wait(NULL) > 0)
		;
	kind_pass();
}
