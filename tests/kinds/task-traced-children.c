/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that clone with CLONE_PTRACE all the time: a child that is made while crcore
 * traces its parent is traced by it as well, and begins stopped. Its parent waits for it,
 * by CLONE_VFORK or with waitpid().
 */
#include "kind.h"
#include <pthread.h>
#include <linux/sched.h>
#include <sys/mman.h>

enum { THREADS = 4, MEMORY = 8 << 20 /* to copy its tables takes a moment */ };

static volatile unsigned long rounds[THREADS];

static void *make_children(void *arg)
{
	const int me = (int)(long)arg, flags = CLONE_PTRACE | (me % 2 ? 0 : CLONE_VFORK) | SIGCHLD;

	while (!kind_over()) {
		int status, n = rounds[me] & 127;
		long pid = syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);

		CHECK(pid >= 0);
		if (!pid)
			syscall(SYS_exit_group, n);
		CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
		CHECK_EQ(status, n << 8);
		rounds[me]++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];
	char *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	kind_init(argc, argv);
	kind_busy();
	CHECK(memory != MAP_FAILED);
	madvise(memory, MEMORY, MADV_NOHUGEPAGE);
	memset(memory, 1, MEMORY);
	for (long i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, make_children, (void *)i));
	kind_announce();
	kind_wait();
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
