/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials belong to a thread: user and group ids, groups, capabilities, securebits
 * and no_new_privs that differ between the threads of one process. */
#include "kind.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>

struct caps {
	struct __user_cap_data_struct d[2];
};

static pthread_barrier_t ready;

static struct caps caps(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct caps c;

	CHECK(!syscall(SYS_capget, &h, c.d));
	return c;
}

/* glibc's wrappers would change all threads. */
static void *other_user(void *arg)
{
	gid_t groups[] = { 5, 7, 4242 }, now[8];
	uid_t r, e, s;

	CHECK(!syscall(SYS_setgroups, 3, groups));
	CHECK(!syscall(SYS_setresgid, 100, 101, 102));
	CHECK(!syscall(SYS_setresuid, 1000, 1001, 1002));
	CHECK_EQ(syscall(SYS_setfsuid, 1002), 1001);
	pthread_barrier_wait(&ready);
	kind_wait();
	CHECK(!syscall(SYS_getresuid, &r, &e, &s));
	CHECK(r == 1000 && e == 1001 && s == 1002);
	CHECK(!syscall(SYS_getresgid, &r, &e, &s));
	CHECK(r == 100 && e == 101 && s == 102);
	CHECK_EQ(syscall(SYS_setfsuid, -1), 1002);
	CHECK_EQ(syscall(SYS_getgroups, 8, now), 3);
	CHECK(!memcmp(now, groups, sizeof(groups)));
	return NULL;
}

static void *fewer_caps(void *arg)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct caps want = caps(), now;

	want.d[0].effective = 1u << CAP_KILL;
	want.d[0].permitted = 1u << CAP_KILL | 1u << CAP_NET_ADMIN;
	want.d[0].inheritable = 1u << CAP_KILL;
	want.d[1].effective = want.d[1].permitted = want.d[1].inheritable = 0;
	CHECK(!prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_KEEP_CAPS, 0, 0, 0));
	CHECK(!syscall(SYS_capset, &h, want.d));
	CHECK(!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	pthread_barrier_wait(&ready);
	kind_wait();
	now = caps();
	CHECK(!memcmp(&now, &want, sizeof(now)));
	CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0), 1);
	CHECK_EQ(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), SECBIT_NOROOT | SECBIT_KEEP_CAPS);
	CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
	CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
	return NULL;
}

static void *no_new_privs(void *arg)
{
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	pthread_barrier_wait(&ready);
	kind_wait();
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*fn[])(void *) = { other_user, fewer_caps, no_new_privs };
	struct caps before = caps(), now;
	pthread_t thread[3];

	kind_init(argc, argv);
	CHECK(!pthread_barrier_init(&ready, NULL, 4));
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread[i], NULL, fn[i], NULL));
	pthread_barrier_wait(&ready);
	kind_ready();
	now = caps();
	CHECK(!memcmp(&before, &now, sizeof(now)));
	CHECK_EQ(getuid(), 0);
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
