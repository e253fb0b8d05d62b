/* SPDX-License-Identifier: Apache-2.0 */
/* Many processes, so that it is told of all at once what they share: of each sort some do and some
 * do not. With "apart" one has a namespace of its own. */
#include "kind.h"
#include <sched.h>
#include <sys/mman.h>

enum { CHILDREN = 40, STACK = 65536, SORTS = 6 };

static volatile int *ready;
static bool apart;

static int child(void *arg)
{
	const long i = (long)arg;

	if (i % SORTS == 4)
		CHECK(!chdir("/usr"));
	if (i % SORTS == 5)
		CHECK(!chdir("/usr") && !chdir("/"));
	if (apart && i == CHILDREN / 2)
		CHECK(!unshare(CLONE_NEWUTS));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	return 0;
}

static int middle(void *arg)
{
	char cwd[PATH_MAX];
	pid_t pid = kind_fork(child, arg);

	child(arg);
	kind_join(pid);
	CHECK_STR(getcwd(cwd, sizeof(cwd)), (long)arg % SORTS == 4 ? "/usr" : "/");
	return 0;
}

static pid_t start(long i)
{
	static const int flags[SORTS] = { 0, CLONE_FILES, CLONE_FS, CLONE_VM | CLONE_SIGHAND, 0, 0 };
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	CHECK(stack != MAP_FAILED);
	pid = clone(i % SORTS < 4 ? child : middle, stack + STACK, flags[i % SORTS] | SIGCHLD,
	            (void *)i);
	CHECK(pid > 0);
	return pid;
}

int main(int argc, char **argv)
{
	pid_t pid[CHILDREN];
	int all = 0;

	kind_init(argc, argv);
	apart = argc > 2 && !strcmp(argv[2], "apart");
	ready = kind_shared(4096);
	CHECK(!chdir("/"));
	for (int i = 0; i < CHILDREN; i++) {
		pid[i] = start(i);
		all += i % SORTS < 4 ? 1 : 2;
	}
	kind_until(ready, all);
	kind_ready();
	for (int i = 0; i < CHILDREN; i++)
		kind_join(pid[i]);
	kind_pass();
}
