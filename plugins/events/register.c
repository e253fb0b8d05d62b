/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll, restore: the registrations. epoll keys them by description and
 * descriptor number, and signalfds by who registers them, so tasks make them,
 * each those of what it has, once all descriptors are in place. What is ready
 * then is reported again: nothing is lost, an edge may be seen twice.
 *
 * A oneshot registration that has reported is disabled. There is no other way
 * to that state than to let it report, so those are made first, asking for what
 * is ready anyway, and the reports are taken.
 */
#include "events.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

struct context {
	struct events *e;
	struct crcore_program *program;
	struct crcore_arg epoll; /* its descriptor in this task */
};

int epoll_check(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_targets; i++) {
		const Events__Target *t = rec->targets[i];
		if (t->number > INT_MAX || t->fd > INT_MAX || (t->taken && t->number == t->fd))
			return crcore_fail(err, -EBADMSG, "its record makes no sense");
	}
	return 0;
}

int epoll_make(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	struct epoll_params params = {
		.busy_poll_usecs = rec->epoll->busy_poll_usecs,
		.busy_poll_budget = (uint16_t)rec->epoll->busy_poll_budget,
		.prefer_busy_poll = rec->epoll->prefer_busy_poll,
	};
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0 || (rec->flags & O_NONBLOCK && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
		int r = crcore_fail(err, -errno, "cannot make it: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return r;
	}
	/* Only a matter of speed, and the kernel may not know it: no failure. */
	if ((params.busy_poll_usecs || params.busy_poll_budget || params.prefer_busy_poll) &&
	    ioctl(fd, EPIOCSPARAMS, &params) < 0)
		e->host->log(e->ctx, 1, "cannot set busy polling of an epoll: %s", strerror(errno));
	return fd;
}

static void control(struct context *c, const Events__Target *t, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = t->data };

	c->e->host->call(c->program, "events: register with epoll", SYS_epoll_ctl,
	                 ARGS(c->epoll, IMM(EPOLL_CTL_ADD), IMM(t->number),
	                      DATA(c->e->host->data(c->program, &event, sizeof(event)))),
	                 CRCORE_EQUAL, 0);
}

/* Lends the number to what is registered under it. */
static void add(struct context *c, const Events__Target *t, uint32_t events)
{
	const struct crcore_host *host = c->e->host;
	uint32_t kept = 0;

	if (t->number == t->fd) {
		control(c, t, events);
		return;
	}
	if (t->taken)
		kept = host->call(c->program, "events: keep what has the number", SYS_fcntl,
		                  ARGS(IMM(t->number), IMM(F_DUPFD_CLOEXEC), IMM(t->number + 1)),
		                  CRCORE_OK, 0);
	host->call(c->program, "events: lend a number", SYS_dup3, ARGS(IMM(t->fd), IMM(t->number),
	           IMM(O_CLOEXEC)), CRCORE_OK, 0);
	control(c, t, events);
	if (!t->taken) {
		host->call(c->program, "events: close a number", SYS_close, ARGS(IMM(t->number)),
		           CRCORE_EQUAL, 0);
		return;
	}
	host->call(c->program, "events: give the number back", SYS_dup3, ARGS(RESULT(kept),
	           IMM(t->number), IMM(t->cloexec ? O_CLOEXEC : 0)), CRCORE_OK, 0);
	host->call(c->program, "events: close what was kept", SYS_close, ARGS(RESULT(kept)),
	           CRCORE_EQUAL, 0);
}

/* The epoll of a task that does not have it, above every number that is lent. */
static int fetch(struct context *c, const Events__Event *rec, struct crcore_error *err)
{
	const struct crcore_host *host = c->e->host;
	uint32_t op, above = 0, high;
	int r = host->fetch(c->e->ctx, c->program, rec->id, &op, err);

	for (size_t i = 0; i < rec->n_targets; i++)
		if (rec->targets[i]->number != rec->targets[i]->fd && rec->targets[i]->number >= above)
			above = rec->targets[i]->number + 1;
	if (r < 0)
		return r;
	high = host->call(c->program, "events: move epoll out of the way", SYS_fcntl,
	                  ARGS(RESULT(op), IMM(F_DUPFD_CLOEXEC), IMM(above)), CRCORE_OK, 0);
	host->call(c->program, "events: close epoll", SYS_close, ARGS(RESULT(op)), CRCORE_EQUAL, 0);
	c->epoll = (struct crcore_arg)RESULT(high);
	return 0;
}

/* Those that are disabled, and the reports that disable them. Nothing else must be
 * registered yet: its report would be taken too. */
static void add_disabled(struct context *c, const Events__Event *rec, pid_t pid, bool alone)
{
	unsigned n = 0;

	for (size_t i = 0; i < rec->n_targets; i++) {
		const Events__Target *t = rec->targets[i];
		if (t->pid != (uint32_t)pid || !target_disabled(t))
			continue;
		add(c, t, t->events | (alone ? t->ready : 0));
		n++;
	}
	if (!n || !alone || n > INT_MAX / sizeof(struct epoll_event))
		return;
	c->e->host->call(c->program, "events: take reports of oneshot", SYS_epoll_pwait,
	                 ARGS(c->epoll, DATA(c->e->host->data(c->program, NULL,
	                                                      n * sizeof(struct epoll_event))),
	                      IMM(n), IMM(0), IMM(0), IMM(8)), CRCORE_OK, 0);
}

int epoll_emit(struct events *e, const Events__Event *rec, const struct crcore_task *task,
               struct crcore_program *program, struct crcore_error *err)
{
	struct context c = { .e = e, .program = program, .epoll = IMM(rec->epoll->fd) };
	bool mine = false, alone = true, fetched = rec->epoll->pid != (uint32_t)task->pid;
	int r;

	for (size_t i = 0; i < rec->n_targets; i++) {
		mine |= rec->targets[i]->pid == (uint32_t)task->pid;
		alone &= rec->targets[i]->pid == rec->targets[0]->pid;
	}
	if (!mine)
		return 0;
	if (fetched) {
		r = fetch(&c, rec, err);
		if (r < 0)
			return r;
	}
	add_disabled(&c, rec, task->pid, alone);
	for (size_t i = 0; i < rec->n_targets; i++)
		if (rec->targets[i]->pid == (uint32_t)task->pid && !target_disabled(rec->targets[i]))
			add(&c, rec->targets[i], rec->targets[i]->events);
	if (fetched)
		e->host->call(program, "events: close epoll", SYS_close, ARGS(c.epoll), CRCORE_EQUAL, 0);
	return 0;
}
