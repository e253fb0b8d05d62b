/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is loaded while the program runs (restore --lazy): as soon as it runs again it
 * does everything that changes an address space, from several threads and in children, and
 * every byte must be what it was, or zero where it was thrown away.
 */
#include "kind.h"
#include <pthread.h>
#include <sys/mman.h>

enum { LEN = 12 << 20, PAGES = LEN / 4096, NREGIONS = 10, NTHREADS = 4 };
enum { READ, FORK, MOVE, UNMAP, ZAP, PROTECT, KERNEL, SWAP_A, SWAP_B, STORM };

static unsigned char *region[NREGIONS];

static uint64_t word(int r, size_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)(r + 1) << 56;
}

static void fill(int r)
{
	uint64_t *p = (void *)region[r];

	for (size_t i = 0; i < LEN / 8; i++)
		p[i] = word(r, i);
}

/* Page `page` of region r, wherever it is now. */
static void verify_page(int r, size_t page, const void *at)
{
	const uint64_t *p = at;

	for (size_t i = 0; i < 512; i++)
		if (p[i] != word(r, page * 512 + i))
			kind_fail("at %p region %d, page %zu, word %zu: %#llx, not %#llx", at, r, page, i,
			          (unsigned long long)p[i], (unsigned long long)word(r, page * 512 + i));
}

static void verify(int r, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		verify_page(r, i, region[r] + i * 4096);
}

static void verify_zero(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len / 8; i++)
		if (((const uint64_t *)p)[i])
			kind_fail("word %zu of %p is not zero", i, (const void *)p);
}

static unsigned char *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void *hole(size_t len)
{
	void *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void move_to(unsigned char *from, size_t len, unsigned char *to)
{
	CHECK(mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
}

/* ---- from several threads ------------------------------------------------------------ */

static void *read_all(void *arg)
{
	size_t k = (size_t)(uintptr_t)arg;

	for (size_t i = 0; i < PAGES; i++) {
		size_t page = (i * (2 * k + 1) * 7 + k * 911) % PAGES; /* all of them, in some order */
		verify_page(READ, page, region[READ] + page * 4096);
	}
	return NULL;
}

/* Moves its part about and unmaps other memory meanwhile, so that moves land where others unmap. */
static void *storm(void *arg)
{
	const size_t n = PAGES / NTHREADS, first = (size_t)(uintptr_t)arg * n;
	unsigned char *p = region[STORM] + first * 4096;

	for (int i = 0; i < 40; i++) {
		unsigned char *scrap = map(n * 4096);
		*scrap = 1;
		unsigned char *to = hole(n * 4096);
		move_to(p, n * 4096, to);
		p = to;
		CHECK(!munmap(scrap, n * 4096));
		size_t page = (size_t)i * 37 % n;
		verify_page(STORM, first + page, p + page * 4096);
	}
	for (size_t i = 0; i < n; i++)
		verify_page(STORM, first + i, p + i * 4096);
	return NULL;
}

/* ---- children ------------------------------------------------------------------------ */

static int grandchild(void *arg)
{
	verify(FORK, PAGES / 2, PAGES);
	memset(region[FORK] + LEN / 2, 7, LEN / 2);
	return 0;
}

static int child(void *arg)
{
	verify(FORK, 0, PAGES / 4);
	memset(region[FORK], 5, LEN / 4);
	CHECK(!madvise(region[FORK] + LEN / 4, 4096, MADV_DONTNEED));
	verify_zero(region[FORK] + LEN / 4, 4096);
	pid_t pid = kind_fork(grandchild, NULL);
	verify(FORK, PAGES / 4 + 1, PAGES);
	kind_join(pid);
	verify(FORK, PAGES / 2, PAGES);
	return 0;
}

static int run_another(void *arg)
{
	execl("/bin/true", "true", NULL);
	return 1;
}

static int leave(void *arg)
{
	return 0;
}

static void children(void)
{
	pid_t v[4] = { kind_fork(child, NULL), kind_fork(run_another, NULL), kind_fork(leave, NULL),
		       kind_fork(child, NULL) };

	verify(FORK, 0, PAGES);
	for (int i = 0; i < 4; i++)
		kind_join(v[i]);
	verify(FORK, 0, PAGES);
}

/* ---- one thread ---------------------------------------------------------------------- */

static void moves(void)
{
	unsigned char *to = hole(2 * LEN);

	/* The second half first, to where it leaves a gap; then the first with room to grow. */
	move_to(region[MOVE] + LEN / 2, LEN / 2, to + LEN + LEN / 2);
	CHECK(mremap(region[MOVE], LEN / 2, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	verify_zero(to + LEN / 2, LEN / 2);
	for (size_t i = 0; i < PAGES / 2; i++) {
		verify_page(MOVE, i, to + i * 4096);
		verify_page(MOVE, PAGES / 2 + i, to + LEN + LEN / 2 + i * 4096);
	}
	/* Two regions change places. */
	unsigned char *a = region[SWAP_A], *b = region[SWAP_B], *c = hole(LEN);
	move_to(a, LEN, c);
	move_to(b, LEN, a);
	move_to(c, LEN, b);
	region[SWAP_A] = b;
	region[SWAP_B] = a;
	verify(SWAP_A, 0, PAGES);
	verify(SWAP_B, 0, PAGES);
}

static void drops(void)
{
	CHECK(!munmap(region[UNMAP] + LEN / 4, LEN / 4));
	CHECK(mmap(region[UNMAP] + LEN / 4, LEN / 4, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	CHECK(mmap(region[UNMAP] + LEN / 2, LEN / 4, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	verify_zero(region[UNMAP] + LEN / 4, LEN / 2);
	for (size_t i = 0; i < PAGES; i += 3)
		CHECK(!madvise(region[ZAP] + i * 4096, 4096, MADV_DONTNEED));
	for (size_t i = 0; i < PAGES; i++) {
		if (i % 3)
			verify_page(ZAP, i, region[ZAP] + i * 4096);
		else
			verify_zero(region[ZAP] + i * 4096, 4096);
	}
	verify(UNMAP, 0, PAGES / 4);
	verify(UNMAP, PAGES / 4 * 3, PAGES);
}

static void protections(void)
{
	for (size_t i = 0; i < 200; i += 2)
		CHECK(!mprotect(region[PROTECT] + i * 4096, 4096, i % 4 ? PROT_READ : PROT_NONE));
	for (size_t i = 0; i < 200; i += 4)
		CHECK(!mprotect(region[PROTECT] + i * 4096, 4096, PROT_READ));
	verify(PROTECT, 0, PAGES);
}

/* The kernel finds pages missing too. */
static void through_the_kernel(void)
{
	int fd = open(kind_path("bytes"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned char *copy = map(LEN / 2);

	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, region[KERNEL], LEN / 2, 0), LEN / 2);
	CHECK_EQ(pread(fd, copy, LEN / 2, 0), LEN / 2);
	for (size_t i = 0; i < PAGES / 2; i++)
		verify_page(KERNEL, i, copy + i * 4096);
	/* Half of a page comes from the file, the rest of it is what it was. */
	CHECK_EQ(pread(fd, region[KERNEL] + LEN - 4096, 2048, 0), 2048);
	CHECK(!memcmp(region[KERNEL] + LEN - 4096, copy, 2048));
	CHECK_EQ(*(uint64_t *)(void *)(region[KERNEL] + LEN - 2048), word(KERNEL, LEN / 8 - 256));
	verify(KERNEL, PAGES / 2, PAGES - 1);
	CHECK(!close(fd));
	CHECK(!unlink(kind_path("bytes")));
}

int main(int argc, char **argv)
{
	pthread_t v[2 * NTHREADS];
	pid_t parent = getppid();

	kind_init(argc, argv);
	for (int i = 0; i < NREGIONS; i++) {
		region[i] = map(LEN);
		fill(i);
	}
	kind_busy();
	kind_announce();
	while (getppid() == parent && !kind_over()) /* a restored one has another */
		kind_sleep_ms(1);
	for (uintptr_t i = 0; i < NTHREADS; i++) {
		CHECK(!pthread_create(&v[i], NULL, read_all, (void *)i));
		CHECK(!pthread_create(&v[NTHREADS + i], NULL, storm, (void *)i));
	}
	children();
	moves();
	drops();
	protections();
	through_the_kernel();
	for (int i = 0; i < 2 * NTHREADS; i++)
		CHECK(!pthread_join(v[i], NULL));
	kind_wait();
	kind_pass();
}
