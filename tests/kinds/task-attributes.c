/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of a process: personality, oom_score_adj, coredump_filter, umask, memory policy,
 * merging of equal pages, and a parent-death signal that still works. */
#include "kind.h"
#include <linux/mempolicy.h>
#include <sys/prctl.h>
#include <sys/personality.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

static volatile int *step;
static volatile int hit;

static void on_usr1(int sig)
{
	hit = 1;
}

static int orphan(void *arg)
{
	int sig;

	signal(SIGUSR1, on_usr1);
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGUSR1));
	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK(!prctl(PR_GET_PDEATHSIG, &sig));
	CHECK_EQ(sig, SIGUSR1);
	for (int i = 0; !hit; i++) {
		CHECK(i < 5000);
		kind_sleep_ms(1);
	}
	return 0;
}

static int parent(void *arg)
{
	kind_fork(orphan, NULL);
	kind_wait();
	return 0; /* its child outlives it */
}

static void check_file(const char *path, const char *want)
{
	char buf[64] = "";
	int fd = open(path, O_RDONLY);

	CHECK(fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0 && !close(fd));
	buf[strcspn(buf, "\n")] = 0;
	CHECK_STR(buf, want);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0 && !close(fd));
}

static int attributes(void *arg)
{
	unsigned long node = 1, nodes[16] = { 0 };
	int mode = 0, merge;
	long policy;

	write_file("/proc/self/oom_score_adj", "321");
	write_file("/proc/self/coredump_filter", "0x7f");
	CHECK(personality(ADDR_NO_RANDOMIZE | UNAME26) >= 0);
	umask(0137);
	policy = syscall(SYS_set_mempolicy, MPOL_BIND | MPOL_F_STATIC_NODES, &node, 64);
	merge = prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE | UNAME26);
	check_file("/proc/self/oom_score_adj", "321");
	check_file("/proc/self/coredump_filter", "0000007f");
	CHECK_EQ(umask(0), 0137);
	if (!policy) { /* else the kernel has none */
		CHECK(!syscall(SYS_get_mempolicy, &mode, nodes, sizeof(nodes) * 8, 0, 0));
		CHECK_EQ(mode, MPOL_BIND | MPOL_F_STATIC_NODES);
		CHECK_EQ(nodes[0], node);
	}
	if (!merge)
		CHECK_EQ(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[2];
	int status;

	kind_init(argc, argv);
	step = kind_shared(4096);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	pid[0] = kind_fork(parent, NULL);
	pid[1] = kind_fork(attributes, NULL);
	kind_until(step, 2);
	kind_ready();
	kind_join(pid[0]);
	kind_join(pid[1]);
	CHECK(waitpid(-1, &status, 0) > 0);
	CHECK_EQ(status, 0);
	kind_pass();
}
