/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that have unmapped what the kernel gives to programs, all of it or the code or the data
 * alone, as valgrind does, have just the rest after the restore, at its place. */
#include "kind.h"
#include <sys/mman.h>

struct special { char name[32]; unsigned long start, end; };
struct specials { struct special v[8]; int n; };

static struct specials look(void)
{
	struct specials ret = { 0 };
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		struct special *s = &ret.v[ret.n];
		if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) && ret.n < 8 &&
		    sscanf(line, "%lx-%lx %*s %*s %*s %*s %31s", &s->start, &s->end, s->name) == 3)
			ret.n++;
	}
	fclose(f);
	return ret;
}

/* From here on libc's clocks must not be used. */
static void drop(const char *name)
{
	struct specials s = look();

	for (int i = 0; i < s.n; i++)
		if (!strncmp(s.v[i].name, name, strlen(name)))
			CHECK(!munmap((void *)s.v[i].start, s.v[i].end - s.v[i].start));
}

static int child(void *arg)
{
	const struct timespec pause = { 0, 10000000 };

	drop(arg);
	struct specials want = look(), got;
	while (!kind_over())
		syscall(SYS_nanosleep, &pause, NULL);
	got = look();
	CHECK_EQ(got.n, want.n);
	for (int i = 0; i < want.n; i++) {
		CHECK_STR(got.v[i].name, want.v[i].name);
		CHECK_EQ(got.v[i].start, want.v[i].start);
		CHECK_EQ(got.v[i].end, want.v[i].end);
	}
	_exit(0); /* what runs at the end may look at a clock */
}

int main(int argc, char **argv)
{
	char *const names[] = { "[vdso]", "[vvar]", "[vvar_vclock]", "[vvar", "[v" };
	enum { N = sizeof(names) / sizeof(*names) };
	pid_t pids[N];
	struct timespec now;

	kind_init(argc, argv);
	for (int i = 0; i < N; i++)
		pids[i] = kind_fork(child, names[i]);
	kind_sleep_ms(200);
	kind_ready();
	for (int i = 0; i < N; i++)
		kind_join(pids[i]);
	CHECK(!clock_gettime(CLOCK_MONOTONIC, &now)); /* with the whole of it */
	kind_pass();
}
