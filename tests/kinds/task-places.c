/* SPDX-License-Identifier: Apache-2.0 */
/* Current directory (also one that only exists below a chroot), root directory, umask. */
#include "kind.h"

static volatile int *ready;

static int in_cwd(void *arg)
{
	char cwd[PATH_MAX];

	CHECK(!mkdir(kind_path("here"), 0755) && !chdir(kind_path("here")));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_STR(getcwd(cwd, sizeof(cwd)), kind_path("here"));
	CHECK(!access("../ready", F_OK));
	return 0;
}

/* Cannot see the folder of the test any more: it is told in shared memory. */
static int in_chroot(void *arg)
{
	char cwd[PATH_MAX];

	CHECK(!mkdir(kind_path("root"), 0755) && !mkdir(kind_path("root/inner"), 0755));
	CHECK(!chroot(kind_path("root")) && !chdir("/inner"));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_until(&ready[1], 1);
	if (!getcwd(cwd, sizeof(cwd)) || strcmp(cwd, "/inner"))
		return 2;
	if (!access("/etc/passwd", F_OK) || access("/inner", F_OK))
		return 3;
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[2];

	kind_init(argc, argv);
	ready = kind_shared(4096);
	pid[0] = kind_fork(in_cwd, NULL);
	pid[1] = kind_fork(in_chroot, NULL);
	kind_until(ready, 2);
	kind_ready();
	ready[1] = 1;
	kind_join(pid[0]);
	kind_join(pid[1]);
	kind_pass();
}
