/* SPDX-License-Identifier: Apache-2.0 */
/* A mapping for every flag, advice, lock, name and protection; contents where they
 * can only be reached after mprotect. The flags themselves are compared by run-kind.
 * argv[2]: how many MiB there are besides. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096, EACH = 4 * SIZE };

static const struct {
	const char *name;
	int advice, prot, flags;
} sorts[] = {
	{ "plain", 0, PROT_READ | PROT_WRITE, 0 },
	{ "none", 0, PROT_NONE, 0 },
	{ "write", 0, PROT_WRITE, 0 },
	{ "exec", 0, PROT_READ | PROT_EXEC, 0 },
	{ NULL, 0, PROT_READ | PROT_WRITE, MAP_NORESERVE },
	{ NULL, MADV_RANDOM, PROT_READ | PROT_WRITE, 0 },
	{ NULL, MADV_SEQUENTIAL, PROT_READ, 0 },
	{ NULL, MADV_DONTFORK, PROT_READ | PROT_WRITE, 0 },
	{ NULL, MADV_DONTDUMP, PROT_READ | PROT_WRITE, 0 },
	{ NULL, MADV_WIPEONFORK, PROT_READ | PROT_WRITE, 0 },
	{ NULL, MADV_MERGEABLE, PROT_READ | PROT_WRITE, 0 },
	{ NULL, MADV_HUGEPAGE, PROT_READ | PROT_WRITE, 0 },
	{ NULL, MADV_NOHUGEPAGE, PROT_NONE, 0 },
	{ "a name, with more: x", MADV_DONTDUMP, PROT_READ, MAP_NORESERVE },
};
enum { SORTS = sizeof(sorts) / sizeof(*sorts) };

int main(int argc, char **argv)
{
	unsigned char *v[SORTS];

	size_t more = argc > 2 ? strtoul(argv[2], NULL, 10) << 20 : SIZE;

	kind_init(argc, argv);
	v[0] = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v[0] != MAP_FAILED);
	memset(v[0], 1, more);
	for (int i = 0; i < SORTS; i++) {
		v[i] = mmap(NULL, EACH, PROT_READ | PROT_WRITE,
		            MAP_PRIVATE | MAP_ANONYMOUS | sorts[i].flags, -1, 0);
		CHECK(v[i] != MAP_FAILED);
		memset(v[i] + SIZE, i + 1, SIZE);
		if (sorts[i].advice && madvise(v[i], EACH, sorts[i].advice))
			CHECK_EQ(errno, EINVAL); /* the kernel does without */
		if (sorts[i].name)
			prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, v[i], EACH, sorts[i].name);
		CHECK(!mprotect(v[i], EACH, sorts[i].prot));
	}
	CHECK(!mlock(v[0], SIZE));
	CHECK(!mlock2(v[0] + 2 * SIZE, SIZE, MLOCK_ONFAULT));
	kind_ready();
	for (int i = 0; i < SORTS; i++) {
		CHECK(!mprotect(v[i], EACH, PROT_READ | PROT_WRITE));
		for (int k = 0; k < EACH; k++)
			if (v[i][k] != (k / SIZE == 1 ? i + 1 : 0))
				kind_fail("sort %d, byte %d is %d", i, k, v[i][k]);
	}
	kind_pass();
}
