/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that stands by. It has the same table of descriptors, so as long as it lives the
 * kernel lets no task go on without its pages, and what the pager got from the kernel (the
 * descriptor of a forked child) it has too. Its memory is a copy: it is forked while there is one
 * thread only. It wakes when the pager has died, learns from the journal what has happened since,
 * and is the pager from then on.
 */
#include <poll.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/pager/priv.h"

static int begin(struct state *p, struct crcore_error *err);

static _Noreturn void stand_by(struct state *p, int pager)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct pollfd v = { pager, POLLIN, 0 };

	p->standby = -1;
	p->standby_pid = 0;
	while (poll(&v, 1, -1) < 0)
		;
	if (p->journal->done)
		_exit(0);
	/* First of all somebody must stand by again: it knows what we know, which is not all yet. */
	if (begin(p, &err) < 0)
		log_error(1, &err);
	close(pager);
	p->nlater = 0;
	log_line(1, "the pager was killed: %d goes on in its place", getpid());
	if (events_replay(p, &err) < 0 || shared_inherit(p, &err) < 0)
		give_up(p, &err);
	pager_run(p);
}

static int begin(struct state *p, struct crcore_error *err)
{
	int pager = (int)syscall(SYS_pidfd_open, getpid(), 0);

	/* Born with its name: who ends one of the two by name is not to hit both. */
	prctl(PR_SET_NAME, "cr-standby");
	/* Not fork(): the table of descriptors is to be one. */
	long pid = pager < 0 ? -1 : syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
	if (pid == 0)
		stand_by(p, pager);
	prctl(PR_SET_NAME, "cr-pager");
	p->standby_pid = (pid_t)pid;
	p->standby = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, p->standby_pid, 0);
	if (p->standby >= 0)
		return 0;
	int r = -errno;
	if (pid > 0)
		standby_end(p);
	return crcore_fail(err, r, "no process to stand by should the pager be killed: %s",
	                   strerror(-r));
}

int standby_begin(struct state *p, struct crcore_error *err)
{
	p->journal->n = p->applied = 0;
	memset(p->journal->v, 0, sizeof(*p->journal->v));
	return begin(p, err);
}

void standby_end(struct state *p)
{
	if (p->standby_pid > 0) {
		kill(p->standby_pid, SIGKILL);
		while (waitpid(p->standby_pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (p->standby >= 0)
		close(STEAL_FD(p->standby));
	p->standby_pid = 0;
}

static void finish(struct state *p)
{
	const struct image *img = p->setup.image;

	log_line(2, "all memory is loaded: %llu MiB in %llu ms, %zu pieces were asked for",
	         (unsigned long long)p->loaded >> 20,
	         (unsigned long long)(now_ns() - p->started) / 1000000, p->asked.n);
	/* What was asked for now comes first, then what was loaded ahead of that. */
	for (size_t i = 0; i < p->order.n; i++)
		order_note(&p->asked, (uint64_t)p->order.v[i] * ORDER_CHUNK);
	if (!order_write(&p->asked, image_folder(img), image_manifest(img)->checksum))
		log_line(2, "the order of pages was not recorded: %s", strerror(errno));
}

void pager_run(struct state *p)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	int r = p->standby < 0 ? standby_begin(p, &err) : 0;

	while (r == 0 && (r = serve_tree(p, &err)) == 0) {
		standby_end(p);
		r = standby_begin(p, &err);
	}
	if (r < 0)
		give_up(p, &err);
	finish(p);
	p->journal->done = true;
	_exit(0);
}
