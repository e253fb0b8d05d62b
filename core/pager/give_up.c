/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a tree that cannot get its memory: an image that is damaged, a file that cannot be
 * read. Its tasks are killed. Children that they forked meanwhile are nobody's that we know by
 * number; they find the pages that they lack poisoned, and end by SIGBUS where they touch one.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <syslog.h>
#include "core/pager/priv.h"
#include "core/task/task.h"

#ifndef UFFDIO_POISON
struct uffdio_poison { struct uffdio_range range; uint64_t mode; int64_t updated; };
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

static unsigned long long start_time(pid_t pid)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct proc_stat st;
	cleanup_close int proc = proc_open(pid, &ignored);

	return proc >= 0 && proc_stat(proc, &st, &ignored) == 0 ? st.start_time : 0;
}

void note_victims(struct state *p)
{
	for (unsigned i = 0; i < p->nvictims; i++)
		p->victims[i].started = start_time(p->victims[i].pid);
}

static void kill_tree(const struct state *p)
{
	for (unsigned i = 0; i < p->nvictims; i++) {
		const struct victim *v = &p->victims[i];
		cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0);
		if (pidfd >= 0 && v->started && start_time(v->pid) == v->started)
			syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	}
}

/* Whatever of it is not there. False: it is not done yet, or cannot be on this kernel, and somebody
 * may be left. */
static bool poison(int uffd, const struct places *all)
{
	for (const struct span *x = places_from(all, 0); x; x = places_from(all, x->end))
		for (uint64_t at = x->start; at < x->end; at += PAGE) {
			struct uffdio_poison q = { .range = { at, PAGE } };
			int r = ioctl(uffd, UFFDIO_POISON, &q) < 0 ? errno : 0;
			if (r == ESRCH)
				return true;
			if (r && r != EEXIST && r != ENOENT)
				return false;
		}
	return true;
}

/* Whoever forks or moves memory waits for us; whoever waits for a page finds it poisoned. */
static bool poison_space(struct state *p, unsigned i)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct fault f[NOTES_AT_ONCE];
	struct space *s = p->v[i];
	unsigned n;

	while (p->journal->n + NOTES_SPARE < NOTES && events_read(p, i, f, &n, &ignored) > 0)
		;
	bool done = poison(s->uffd, &s->view.watched);
	for (unsigned k = 0; k < s->nheld; k++)
		if (s->held[k].kind == UFFD_EVENT_FORK)
			done = poison(s->held[k].child, &s->held[k].view->watched) && done;
	wake_all(s);
	return done;
}

/* Of notes that were not taken account of: children of whom nothing else is known. */
static bool poison_unknown(const struct state *p)
{
	bool done = true;

	for (unsigned i = p->applied; i < p->journal->n; i++) {
		const struct uffd_msg *m = &p->journal->v[i].msg;
		for (unsigned k = 0; m->event == UFFD_EVENT_FORK && k < p->n; k++)
			done = poison((int)m->arg.fork.ufd, &p->v[k]->view.watched) && done;
	}
	return done;
}

static bool poison_all(struct state *p)
{
	bool done = poison_unknown(p);

	for (unsigned i = 0; i < p->n; i++)
		if (p->v[i]->uffd >= 0 && !p->v[i]->segment)
			done = poison_space(p, i) && done;
	return done;
}

static void say(const struct state *p, const struct crcore_error *err)
{
	const char *advice = err->code == -EBADMSG ?
		"restore another image of it; without --lazy a damaged one is refused before it runs" :
		"restore it again; without --lazy all is loaded before it runs";
	char line[1024];

	snprintf(line, sizeof(line), "%s%s%s; its memory cannot be loaded, so the restored tree of "
	         "process %d was ended; %s", err->object, err->object[0] ? ": " : "", err->message,
	         p->nvictims ? p->victims[0].pid : 0, advice);
	log_line(0, "%s", line);
	openlog("crcore", LOG_PID, LOG_DAEMON);
	syslog(LOG_ERR, "%s", line);
}

void give_up(struct state *p, const struct crcore_error *err)
{
	const struct timespec pause = { 0, 10000000 };

	kill_tree(p);
	shared_spoil(p);
	say(p, err);
	while (!poison_all(p)) {
		p->journal->n = 0; /* nobody will read it */
		nanosleep(&pause, NULL);
	}
	p->journal->done = true;
	_exit(1);
}
