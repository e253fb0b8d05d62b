/* SPDX-License-Identifier: Apache-2.0 */
/* The memory policy of each single mapping (mbind(2)) is kept: of private and shared memory, of
 * parts of a mapping, and of a child that has another than its parent at the same place. */
#include "kind.h"
#include <linux/mempolicy.h>
#include <sys/mman.h>

#ifndef LARGE
#define LARGE 0 /* bytes: so many that crcore reads the kernel's own words of mappings */
#endif

enum { PAGE = 4096, PAGES = 8 };

static const struct { int mode; unsigned long nodes; } policies[] = {
	{ MPOL_BIND, 1 }, { MPOL_DEFAULT, 0 }, { MPOL_PREFERRED, 1 }, { MPOL_INTERLEAVE, 1 },
	{ MPOL_LOCAL, 0 }, { MPOL_BIND | MPOL_F_STATIC_NODES, 1 }, { MPOL_DEFAULT, 0 },
	{ MPOL_PREFERRED_MANY, 1 },
};
enum { N = sizeof(policies) / sizeof(*policies), ALL = N * PAGES * PAGE };

static char *private, *shared;
static volatile int *ready;

static void set(char *at, int mode, unsigned long nodes)
{
	if (syscall(SYS_mbind, at, (long)PAGES * PAGE, mode, nodes ? &nodes : NULL, 64, 0)) {
		if (errno == ENOSYS)
			kind_skip("this kernel is for one node of memory");
		kind_fail("mbind to mode %#x: %s", mode, strerror(errno));
	}
}

/* flip: as the child has set them. */
static void check(const char *who, char *at, bool flip)
{
	for (int i = 0; i < N; i++) {
		const int want = flip && i == 0 ? MPOL_DEFAULT : policies[i].mode;
		const unsigned long on = want ? policies[i].nodes : 0;
		for (int k = 0; k < PAGES; k += PAGES - 1) {
			unsigned long nodes[16] = { 0 };
			int mode = -1;
			CHECK(!syscall(SYS_get_mempolicy, &mode, nodes, 1024, at + (i * PAGES + k) * PAGE,
			               MPOL_F_ADDR));
			if (mode != want || nodes[0] != on)
				kind_fail("%s: page %d of part %d has policy %#x on nodes %#lx, not %#x on %#lx",
				          who, k, i, mode, nodes[0], want, on);
		}
	}
}

static int child(void *arg)
{
	set(private, MPOL_DEFAULT, 0);
	*ready = 1;
	kind_wait();
	check("private, child", private, true);
	check("shared, child", shared, false);
	return 0;
}

static char *make(int how)
{
	char *p = mmap(NULL, ALL, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	for (int i = 0; i < N; i++)
		set(p + i * PAGES * PAGE, policies[i].mode, policies[i].nodes);
	memset(p, 1, ALL / 2);
	return p;
}

int main(int argc, char **argv)
{
	unsigned long node = 1;

	kind_init(argc, argv);
	ready = kind_shared(PAGE);
	private = make(MAP_PRIVATE);
	shared = make(MAP_SHARED);
	char *large = mmap(NULL, LARGE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(large != MAP_FAILED);
	memset(large, 1, LARGE + PAGE);
	/* which those that have none of their own do not get */
	CHECK(!syscall(SYS_set_mempolicy, MPOL_PREFERRED, &node, 64));
	pid_t pid = kind_fork(child, NULL);
	kind_until(ready, 1);
	kind_ready();
	check("private", private, false);
	check("shared", shared, false);
	for (int i = 0; i < ALL / 2; i += PAGE)
		CHECK(private[i] == 1 && shared[i] == 1);
	kind_join(pid);
	kind_pass();
}
