/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX message queues: messages with priorities in their order, attributes, descriptors shared
 * and opened twice, without a name, not open at all; a process that waits; one that is to be told. */
#include "kind.h"

#include <mqueue.h>

static mqd_t queue, again, shared, unnamed, watched, waited;

static mqd_t make(const char *name, long max, long size, mode_t mode)
{
	struct mq_attr attr = { .mq_maxmsg = max, .mq_msgsize = size };
	mqd_t q = mq_open(name, O_CREAT | O_EXCL | O_RDWR, mode, &attr);

	CHECK(q >= 0);
	return q;
}

static void put(mqd_t q, const char *text, unsigned prio)
{
	CHECK(!mq_send(q, text, strlen(text), prio));
}

static void get(mqd_t q, const char *text, unsigned prio)
{
	char buf[8193] = "";
	unsigned p;
	ssize_t n = mq_receive(q, buf, sizeof(buf) - 1, &p);

	CHECK_EQ(n, strlen(text));
	CHECK_STR(buf, text);
	CHECK_EQ(p, prio);
}

static int child(void *arg)
{
	get(waited, "at last", 3);
	get(shared, "s", 1);
	return 0;
}

static void set_up(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };

	queue = make("/crcore-queue", 10, 100, 0642);
	again = mq_open("/crcore-queue", O_RDONLY | O_NONBLOCK);
	shared = make("/crcore-shared", 3, 8, 0600);
	unnamed = make("/crcore-unnamed", 4, 8192, 0600);
	CHECK(!mq_unlink("/crcore-unnamed"));
	watched = make("/crcore-watched", 9, 50, 0600);
	waited = make("/crcore-waited", 1, 50, 0600);
	mqd_t closed = make("/crcore-closed", 2, 30, 0600);
	put(closed, "nobody has it open", 7);
	CHECK(!mq_close(closed) && again >= 0);
	put(queue, "low 1", 1);
	put(queue, "high", 32767);
	put(queue, "low 2", 1);
	put(queue, "", 5);
	put(queue, "lowest", 0);
	put(shared, "s", 1);
	put(unnamed, "unnamed", 2);
	put(watched, "a", 4);
	CHECK(!mq_notify(watched, &e)); /* of the next one when it has become empty */
	put(watched, "b", 9);
	put(watched, "c", 4);
	put(watched, "d", 4);
}

static int pending(void)
{
	sigset_t set;

	CHECK(!sigpending(&set));
	return sigismember(&set, SIGUSR1);
}

int main(int argc, char **argv)
{
	struct mq_attr attr;
	struct stat before, after;
	siginfo_t si;
	sigset_t set;
	pid_t pid;

	kind_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	set_up();
	pid = kind_fork(child, NULL);
	kind_until_state(pid, pid, 'S');
	CHECK(!fstat(queue, &before));
	kind_ready();

	CHECK(!fstat(queue, &after));
	CHECK_EQ(after.st_mode, before.st_mode);
	CHECK(after.st_mtim.tv_sec == before.st_mtim.tv_sec && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	CHECK(!mq_getattr(again, &attr));
	CHECK(attr.mq_maxmsg == 10 && attr.mq_msgsize == 100 && attr.mq_curmsgs == 5);
	CHECK_EQ(attr.mq_flags, O_NONBLOCK);
	CHECK(!mq_getattr(queue, &attr) && !attr.mq_flags);
	get(queue, "high", 32767);
	get(again, "", 5);
	get(queue, "low 1", 1);
	get(queue, "low 2", 1);
	get(again, "lowest", 0);
	CHECK(mq_receive(again, (char[100]){ 0 }, 100, NULL) < 0 && errno == EAGAIN);
	put(queue, "the same queue", 1);
	get(again, "the same queue", 1);
	CHECK(mq_open("/crcore-unnamed", O_RDONLY) < 0 && errno == ENOENT);
	get(unnamed, "unnamed", 2);
	mqd_t closed = mq_open("/crcore-closed", O_RDWR);
	CHECK(closed >= 0);
	get(closed, "nobody has it open", 7);
	CHECK(!pending());
	get(watched, "b", 9);
	get(watched, "a", 4);
	get(watched, "c", 4);
	get(watched, "d", 4);
	CHECK(!pending());
	put(watched, "now", 0);
	CHECK_EQ(sigwaitinfo(&set, &si), SIGUSR1);
	CHECK_EQ(si.si_code, SI_MESGQ);
	put(waited, "at last", 3);
	kind_join(pid);
	CHECK(!mq_getattr(shared, &attr) && attr.mq_curmsgs == 0);
	CHECK(!mq_unlink("/crcore-queue") && !mq_unlink("/crcore-shared") && !mq_unlink("/crcore-watched") &&
	      !mq_unlink("/crcore-waited") && !mq_unlink("/crcore-closed"));
	kind_pass();
}
