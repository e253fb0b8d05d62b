/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a group and of a session whose leaders are dead: reaped in one case,
 * zombies in the other. */
#include "kind.h"

static volatile pid_t *seen; /* [0]: members that are set up; [1], [2]: the dead leaders */

static int member(void *arg)
{
	pid_t pgid = getpgid(0), sid = getsid(0), leader = (pid_t)(long)arg;

	while (!kill(leader, 0) && kind_state(leader, leader) != 'Z')
		kind_sleep_ms(1);
	__atomic_add_fetch(&seen[0], 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_EQ(getpgid(0), pgid);
	CHECK_EQ(getsid(0), sid);
	CHECK(pgid == leader || sid == leader);
	return 0;
}

static int session_leader(void *arg)
{
	CHECK_EQ(setsid(), getpid());
	kind_fork(member, (void *)(long)getpid());
	return 5;
}

static int group_leader(void *arg)
{
	CHECK(!setpgid(0, 0));
	kind_fork(member, (void *)(long)getpid());
	return 6;
}

int main(int argc, char **argv)
{
	pid_t reaped[2], zombie[2];
	int status;

	kind_init(argc, argv);
	seen = kind_shared(4096);
	/* The members become our children: they stay in the tree. */
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	reaped[0] = kind_fork(session_leader, NULL);
	reaped[1] = kind_fork(group_leader, NULL);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(waitpid(reaped[i], &status, 0), reaped[i]);
	zombie[0] = kind_fork(session_leader, NULL);
	zombie[1] = kind_fork(group_leader, NULL);
	kind_until_state(zombie[0], zombie[0], 'Z');
	kind_until_state(zombie[1], zombie[1], 'Z');
	kind_until(&seen[0], 4);
	kind_ready();
	for (int i = 0; i < 2; i++) {
		CHECK(kill(reaped[i], 0) < 0 && errno == ESRCH);
		CHECK_EQ(waitpid(zombie[i], &status, 0), zombie[i]);
		CHECK_EQ(status, (5 + i) << 8);
	}
	for (int i = 0; i < 4; i++) {
		CHECK(waitpid(-1, &status, 0) > 0);
		CHECK_EQ(status, 0);
	}
	kind_pass();
}
