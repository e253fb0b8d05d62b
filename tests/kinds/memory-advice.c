/* SPDX-License-Identifier: Apache-2.0 */
/* Advice that is given all the time, to one mapping after the other, and counted in memory: at
 * any instant all up to that number have it, and none behind. With memory that is worth
 * copying ahead, so that mappings are looked at before the instant, too. */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096, MAPPINGS = 3000, EACH_MS = 2, OTHER = 40 << 20 };

static char *area;
static volatile int given;

static bool has(const char *line, const char *flag)
{
	return !strncmp(line, "VmFlags:", 8) && strstr(line, flag);
}

/* One that is just being given advice may have it or not. */
static void check(void)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	unsigned long start, end;
	char perms[5];
	long at = -1;
	int seen = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3) {
			at = perms[1] == 'w' && start >= (unsigned long)area &&
			     start < (unsigned long)area + 2ul * MAPPINGS * SIZE ?
			     (long)((start - (unsigned long)area) / SIZE / 2) : -1;
			continue;
		}
		if (strncmp(line, "VmFlags:", 8) || at < 0)
			continue;
		seen++;
		if (at < given && !has(line, " dc"))
			kind_fail("mapping %ld of %d has lost its advice", at, given);
		if (at > given && has(line, " dc"))
			kind_fail("mapping %ld of %d was given advice", at, given);
	}
	fclose(f);
	CHECK_EQ(seen, MAPPINGS);
}

int main(int argc, char **argv)
{
	char *other;

	kind_init(argc, argv);
	area = mmap(NULL, 2ul * MAPPINGS * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	other = mmap(NULL, OTHER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED && other != MAP_FAILED);
	memset(other, 1, OTHER);
	for (int i = 0; i < MAPPINGS; i++)
		CHECK(!mprotect(area + 2ul * SIZE * i, SIZE, PROT_READ | PROT_WRITE));
	kind_busy();
	kind_announce();
	while (given < MAPPINGS && !kind_over()) {
		for (int i = 0; i < EACH_MS && given < MAPPINGS; i++) {
			CHECK(!madvise(area + 2ul * SIZE * given, SIZE, MADV_DONTFORK));
			given++;
		}
		kind_sleep_ms(1);
	}
	kind_wait();
	check();
	kind_pass();
}
