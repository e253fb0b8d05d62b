/* SPDX-License-Identifier: Apache-2.0 */
/* Processes (not threads) that share parts: memory, descriptor table, current
 * directory and umask, signal actions; each pair really shares after the restore,
 * and what was not shared is not. */
#include "kind.h"
#include <sched.h>
#include <sys/mman.h>

enum { STACK = 65536 };

static volatile int *step; /* shared by all */
static volatile int private_word;

static void handler(int sig)
{
}

static int with_vm(void *arg)
{
	private_word = 1;
	kind_wait();
	kind_until(&private_word, 2);
	private_word = 3;
	return 0;
}

static int with_files(void *arg)
{
	int fd;

	step[1] = 1;
	kind_wait();
	fd = open("/dev/zero", O_RDONLY);
	CHECK(fd >= 0);
	step[2] = fd;
	kind_until(&step[3], 1);
	CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF); /* the parent closed it */
	return 0;
}

static int with_fs(void *arg)
{
	step[4] = 1;
	kind_wait();
	CHECK(!chdir("/usr"));
	umask(0123);
	return 0;
}

static int with_sighand(void *arg)
{
	step[5] = 1;
	kind_wait();
	signal(SIGUSR1, handler);
	return 0;
}

static int with_nothing(void *arg)
{
	step[6] = 1;
	kind_wait();
	CHECK(!chdir("/etc"));
	umask(0777);
	signal(SIGUSR2, handler);
	private_word = 99;
	close(2);
	return 0;
}

static pid_t start(int (*fn)(void *), int flags)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	CHECK(stack != MAP_FAILED);
	pid = clone(fn, stack + STACK, flags | SIGCHLD, NULL);
	CHECK(pid > 0);
	return pid;
}

int main(int argc, char **argv)
{
	struct sigaction sa;
	char cwd[PATH_MAX];
	pid_t pid[5];

	kind_init(argc, argv);
	step = kind_shared(4096);
	CHECK(!chdir("/"));
	umask(022);
	pid[0] = start(with_vm, CLONE_VM);
	pid[1] = start(with_files, CLONE_FILES);
	pid[2] = start(with_fs, CLONE_FS);
	pid[3] = start(with_sighand, CLONE_VM | CLONE_SIGHAND);
	pid[4] = start(with_nothing, 0);
	kind_until(&private_word, 1);
	kind_until(&step[1], 1);
	for (int i = 4; i < 7; i++)
		kind_until(&step[i], 1);
	kind_ready();

	private_word = 2;
	kind_join(pid[0]);
	CHECK_EQ(private_word, 3);
	while (!step[2])
		kind_sleep_ms(1);
	CHECK(!close(step[2]));
	step[3] = 1;
	kind_join(pid[1]);
	kind_join(pid[2]);
	kind_join(pid[4]);
	CHECK_STR(getcwd(cwd, sizeof(cwd)), "/usr");
	CHECK_EQ(umask(0), 0123);
	kind_join(pid[3]);
	CHECK(!sigaction(SIGUSR1, NULL, &sa) && sa.sa_handler == handler);
	CHECK(!sigaction(SIGUSR2, NULL, &sa) && sa.sa_handler == SIG_DFL);
	CHECK(fcntl(2, F_GETFD) >= 0);
	kind_pass();
}
