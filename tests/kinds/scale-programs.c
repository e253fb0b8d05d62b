/* SPDX-License-Identifier: Apache-2.0 */
/* What is restored by one call of the task's for each: thousands of locks of a file, of signals
 * queued for one thread, and of groups. */
#include "kind.h"
#include <grp.h>
#include <sys/resource.h>

#define LOCKS 4000
#define SIGNALS 7000
#define GROUPS 60000

static void queue_signals(void)
{
	struct rlimit l;
	sigset_t all;

	CHECK(!getrlimit(RLIMIT_SIGPENDING, &l));
	if (l.rlim_cur < 2 * SIGNALS)
		kind_skip("only %llu signals may be queued here", (unsigned long long)l.rlim_cur);
	sigfillset(&all);
	CHECK(!sigprocmask(SIG_BLOCK, &all, NULL));
	for (int i = 0; i < SIGNALS; i++) {
		siginfo_t info = { .si_signo = SIGRTMIN + 2, .si_code = SI_QUEUE };
		info.si_pid = getpid();
		info.si_value.sival_int = i;
		CHECK(!syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + 2, &info));
	}
}

static void check_signals(void)
{
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	for (int i = 0; i < SIGNALS; i++) {
		CHECK_EQ(sigtimedwait(&set, &info, &(struct timespec){ 0 }), SIGRTMIN + 2);
		CHECK_EQ(info.si_value.sival_int, i);
	}
	CHECK(sigtimedwait(&set, &info, &(struct timespec){ 0 }) < 0 && errno == EAGAIN);
}

/* The locks of a process conflict with none of its own: another one looks. */
static int look_at_locks(void *arg)
{
	const int fd = *(int *)arg;

	for (int i = 0; i < LOCKS; i += LOCKS / 20) {
		struct flock l = { .l_type = F_WRLCK, .l_start = 2 * i, .l_len = 2 };
		CHECK(!fcntl(fd, F_GETLK, &l));
		CHECK_EQ(l.l_type, F_WRLCK);
		CHECK(l.l_start == 2 * i && l.l_len == 1 && l.l_pid == getppid());
	}
	return 0;
}

int main(int argc, char **argv)
{
	static gid_t groups[GROUPS], now[GROUPS];
	int fd;

	kind_init(argc, argv);
	for (int i = 0; i < GROUPS; i++)
		groups[i] = 10 + (gid_t)i;
	CHECK(!setgroups(GROUPS, groups));
	fd = open(kind_path("locked"), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < LOCKS; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_start = 2 * i, .l_len = 1 };
		CHECK(!fcntl(fd, F_SETLK, &l));
	}
	queue_signals();
	kind_ready();
	CHECK_EQ(getgroups(GROUPS, now), GROUPS);
	CHECK(!memcmp(now, groups, sizeof(groups)));
	check_signals();
	kind_join(kind_fork(look_at_locks, &fd));
	kind_pass();
}
