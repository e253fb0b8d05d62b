/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of whole processes: real, effective, saved and file system ids, many
 * groups, locked securebits, keep caps over a change of user. */
#include "kind.h"
#include <grp.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>

enum { GROUPS = 300 };

static volatile int *ready;

static void meet(void)
{
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
}

static int mixed_ids(void *arg)
{
	uid_t u[3];
	gid_t g[3];

	CHECK(!setresgid(11, 12, 13));
	setfsgid(14);
	CHECK(!setresuid(21, 0, 23));
	setfsuid(24);
	meet();
	CHECK(!getresuid(&u[0], &u[1], &u[2]) && !getresgid(&g[0], &g[1], &g[2]));
	CHECK(u[0] == 21 && u[1] == 0 && u[2] == 23);
	CHECK(g[0] == 11 && g[1] == 12 && g[2] == 13);
	CHECK_EQ(setfsuid((uid_t)-1), 24);
	CHECK_EQ(setfsgid((gid_t)-1), 14);
	return 0;
}

static int many_groups(void *arg)
{
	gid_t g[GROUPS], now[GROUPS];

	for (unsigned i = 0; i < GROUPS; i++)
		g[i] = i * 3 + 1000000000;
	CHECK(!setgroups(GROUPS, g));
	meet();
	CHECK_EQ(getgroups(GROUPS, now), GROUPS);
	CHECK(!memcmp(g, now, sizeof(g)));
	return 0;
}

static int locked_bits(void *arg)
{
	unsigned bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
	                SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE;

	CHECK(!prctl(PR_SET_SECUREBITS, bits, 0, 0, 0));
	meet();
	CHECK_EQ(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), bits);
	CHECK(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0 && errno == EPERM);
	return 0;
}

static int kept_caps(void *arg)
{
	uint64_t before;

	CHECK(!prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
	CHECK(!setuid(4000));
	before = strtoull(kind_status(0, "CapPrm"), NULL, 16);
	CHECK(before);
	meet();
	CHECK_EQ(strtoull(kind_status(0, "CapPrm"), NULL, 16), before);
	CHECK_EQ(strtoull(kind_status(0, "CapEff"), NULL, 16), 0);
	CHECK_EQ(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0), 1);
	CHECK_EQ(getuid(), 4000);
	return 0;
}

static int new_privs(void *arg)
{
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	meet();
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	return 0;
}

int main(int argc, char **argv)
{
	int (*fn[])(void *) = { mixed_ids, many_groups, locked_bits, kept_caps, new_privs };
	pid_t pid[5];

	kind_init(argc, argv);
	ready = kind_shared(4096);
	for (int i = 0; i < 5; i++)
		pid[i] = kind_fork(fn[i], NULL);
	kind_until(ready, 5);
	kind_ready();
	for (int i = 0; i < 5; i++)
		kind_join(pid[i]);
	kind_pass();
}
