/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree whose processes write, map, unmap, move, protect and throw away memory, fork, exec
 * and exit at random (CRCORE_SEED; even: a single process), one step each time that the test asks for it by a file
 * step-N; then it says done-N. In between nothing of its memory changes, so a test that stops
 * it can tell what an image of it must hold. It uses few addresses, so that they have been
 * much else before.
 */
#include "kind.h"
#include <sys/mman.h>

enum { SIZE = 4096, PAGES = 768, PROCS = 12, SHARED_FD = 9, ACTS = 12, FIRST_STEPS = 4 };
#define WINDOW ((unsigned char *)0x10000000000)

static struct all {
	int seed, step;
	int n;                /* processes so far */
	pid_t pid[PROCS];     /* 0: has exited */
	int done[PROCS];      /* the step that it has done */
} *all;
static const char *self;
static uint64_t state;

static unsigned dice(unsigned below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % below;
}

static void *map_all(void)
{
	void *p = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FD, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* Writes where that is allowed. */
static void scribble(unsigned char *p, unsigned n)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC); /* tells whether a page can be written to */

	for (unsigned i = 0; i < n; i++) {
		unsigned char *at = p + i * SIZE + dice(SIZE - 8);
		if (read(fd, at, 1) == 1)
			memcpy(at, &state, dice(3) ? 8 : 1);
	}
	close(fd);
}

static void act(void)
{
	static const int prot[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	unsigned page = dice(PAGES), n = 1 + dice(40), what = dice(16);
	unsigned char *p = WINDOW + page * SIZE;
	size_t len = (page + n > PAGES ? PAGES - page : n) * SIZE;

	if (what < 2)
		mmap(p, len, PROT_READ | PROT_WRITE, anon, -1, 0);
	else if (what == 2)
		mmap(p, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else if (what == 3)
		munmap(p, len);
	else if (what == 4)
		mprotect(p, len, prot[dice(3)]);
	else if (what == 5)
		madvise(p, len, MADV_DONTNEED);
	else if (what < 8)
		mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		       WINDOW + dice(PAGES - (unsigned)(len / SIZE) + 1) * SIZE);
	else if (what == 8)
		mremap(p, len, SIZE * (1 + dice(30)), 0);
	else if (what == 9)
		memset(sbrk(SIZE * 3), (int)dice(256), SIZE * 2);
	else
		scribble(p, (unsigned)(len / SIZE));
}

static _Noreturn void live(int i);

static void give_birth(void)
{
	int i = __atomic_fetch_add(&all->n, 1, __ATOMIC_SEQ_CST);

	if (i >= PROCS)
		return;
	all->done[i] = all->step;
	pid_t pid = fork();
	if (pid == 0) {
		all->pid[i] = getpid();
		live(i);
	}
	while (pid > 0 && __atomic_load_n(&all->pid[i], __ATOMIC_SEQ_CST) != pid)
		kind_sleep_ms(1);
}

static void one_step(int i, int step)
{
	state = ((uint64_t)all->seed << 32) + (uint64_t)(step * 64 + i) * 2654435761u;
	for (unsigned k = dice(ACTS); k; k--)
		act();
	if (all->seed % 2 && dice(4) == 0)
		give_birth();
	if (i && dice(20) == 0 && waitpid(-1, NULL, WNOHANG) < 0) { /* nobody's parent */
		__atomic_store_n(&all->pid[i], 0, __ATOMIC_SEQ_CST);
		exit(0);
	}
	if (i && dice(10) == 0) {
		char number[12];
		snprintf(number, sizeof(number), "%d", i);
		__atomic_store_n(&all->done[i], step, __ATOMIC_SEQ_CST);
		execl(self, self, kind_path(""), number, NULL);
		CHECK(!"exec");
	}
	__atomic_store_n(&all->done[i], step, __ATOMIC_SEQ_CST);
}

static _Noreturn void live(int i)
{
	for (int done = all->done[i]; !kind_over(); kind_sleep_ms(2)) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		int step = __atomic_load_n(&all->step, __ATOMIC_SEQ_CST);
		if (step > done)
			one_step(i, done = step);
	}
	while (wait(NULL) > 0)
		;
	exit(0);
}

static void lead(int step)
{
	__atomic_store_n(&all->step, step, __ATOMIC_SEQ_CST);
	one_step(0, step);
	for (int i = 0; i < PROCS && i < __atomic_load_n(&all->n, __ATOMIC_SEQ_CST); i++)
		while (__atomic_load_n(&all->done[i], __ATOMIC_SEQ_CST) < step &&
		       __atomic_load_n(&all->pid[i], __ATOMIC_SEQ_CST))
			kind_sleep_ms(1);
}

int main(int argc, char **argv)
{
	char name[32];

	kind_init(argc, argv);
	self = argv[0];
	if (argc > 2) { /* after exec */
		all = map_all();
		live(atoi(argv[2]));
	}
	int fd = (int)memfd_create("all", 0);
	CHECK(fd >= 0 && ftruncate(fd, sizeof(*all)) == 0 && dup2(fd, SHARED_FD) == SHARED_FD);
	if (fd != SHARED_FD)
		close(fd);
	all = map_all();
	all->seed = getenv("CRCORE_SEED") ? atoi(getenv("CRCORE_SEED")) : 1;
	all->pid[0] = getpid();
	all->n = 1;
	int step = 0;
	while (step < FIRST_STEPS)
		lead(++step);
	kind_announce();
	while (!kind_over()) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		snprintf(name, sizeof(name), "step-%d", step + 1 - FIRST_STEPS);
		if (access(kind_path(name), F_OK) == 0) {
			lead(++step);
			snprintf(name, sizeof(name), "done-%d", step - FIRST_STEPS);
			close(open(kind_path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
		}
		kind_sleep_ms(2);
	}
	while (wait(NULL) > 0)
		;
	kind_pass();
}
