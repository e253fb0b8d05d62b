/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and process groups: a session within the tree, a group of two in the
 * root's session, a group within the inner session, a child in its aunt's group. */
#include "kind.h"

static volatile pid_t *seen; /* [0]: tasks that are set up */

static void stay(pid_t pgid, pid_t sid)
{
	CHECK_EQ(getpgid(0), pgid);
	CHECK_EQ(getsid(0), sid);
	__atomic_add_fetch(&seen[0], 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_EQ(getpgid(0), pgid);
	CHECK_EQ(getsid(0), sid);
}

static int inner_group(void *arg)
{
	CHECK(!setpgid(0, 0));
	stay(getpid(), getppid());
	return 0;
}

static int inner_session(void *arg)
{
	pid_t child;

	CHECK_EQ(setsid(), getpid());
	child = kind_fork(inner_group, NULL);
	stay(getpid(), getpid());
	CHECK(setsid() < 0 && errno == EPERM);
	kind_join(child);
	return 0;
}

static int leader(void *arg)
{
	CHECK(!setpgid(0, 0));
	seen[1] = getpid();
	stay(getpid(), getppid());
	return 0;
}

static int member(void *arg)
{
	CHECK(!setpgid(0, seen[1]));
	stay(seen[1], getppid());
	return 0;
}

static int plain(void *arg)
{
	stay(getppid(), getppid());
	return 0;
}

int main(int argc, char **argv)
{
	pid_t child[4];

	kind_init(argc, argv);
	seen = kind_shared(4096);
	CHECK_EQ(getsid(0), getpid());
	child[0] = kind_fork(inner_session, NULL);
	child[1] = kind_fork(leader, NULL);
	while (!seen[1])
		kind_sleep_ms(1);
	child[2] = kind_fork(member, NULL);
	child[3] = kind_fork(plain, NULL);
	kind_until(&seen[0], 5);
	kind_ready();
	CHECK_EQ(getpgid(0), getpid());
	CHECK_EQ(getsid(0), getpid());
	for (int i = 0; i < 4; i++)
		kind_join(child[i]);
	kind_pass();
}
