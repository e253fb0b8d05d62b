/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what only a task can do. The leader of a session takes its
 * controlling terminal before it has children, who inherit it and get it no
 * other way; once the groups are there one of them becomes the foreground. A job
 * of a shell joins the session of crcore, whose terminal is controlling already;
 * it only becomes the foreground.
 */
#include "ttys.h"

#include <signal.h>
#include <sys/syscall.h>
#include "plugins/args.h"

/* Operations after which the result of *ret_op is a descriptor of a terminal. */
static int get_terminal(struct ttys *t, struct crcore_program *p, const struct made *m,
                        uint32_t *ret_op, struct crcore_error *err)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < t->nends; i++) {
		const Ttys__End *e = t->ends[i];
		if (e->terminal == m->rec->key && e->side == TTYS__SIDE__SLAVE &&
		    (e->flags & O_ACCMODE) != O_WRONLY)
			return t->host->fetch(t->ctx, p, e->id, ret_op, err);
	}
	if (*m->rec->path)
		snprintf(path, sizeof(path), "%s", m->rec->path);
	else
		snprintf(path, sizeof(path), "/dev/pts/%u", m->number);
	*ret_op = t->host->call(p, "ttys: open terminal", SYS_openat, ARGS(IMM(AT_FDCWD),
	                        DATA(t->host->data(p, path, strlen(path) + 1)),
	                        IMM(O_RDWR | O_NOCTTY | O_CLOEXEC)), CRCORE_OK, 0);
	return 0;
}

static void close_terminal(struct ttys *t, struct crcore_program *p, uint32_t op)
{
	t->host->call(p, "ttys: close terminal", SYS_close, ARGS(RESULT(op)), CRCORE_ANY, 0);
}

static int take_terminal(struct ttys *t, struct crcore_program *p, const struct made *m,
                         struct crcore_error *err)
{
	uint32_t fd;
	int r = get_terminal(t, p, m, &fd, err);

	if (r < 0)
		return r;
	t->host->call(p, "ttys: take controlling terminal", SYS_ioctl, ARGS(RESULT(fd), IMM(TIOCSCTTY),
	              IMM(0)), CRCORE_EQUAL, 0);
	close_terminal(t, p, fd);
	return 0;
}

/* Whoever is in the background must not hear of it. */
static int set_foreground(struct ttys *t, struct crcore_program *p, const struct made *m,
                          uint32_t group, uint32_t expect, struct crcore_error *err)
{
	const uint64_t mask = 1ull << (SIGTTOU - 1);
	uint32_t fd;
	int r = get_terminal(t, p, m, &fd, err);

	if (r < 0)
		return r;
	t->host->call(p, "ttys: block SIGTTOU", SYS_rt_sigprocmask, ARGS(IMM(SIG_BLOCK),
	              DATA(t->host->data(p, &mask, sizeof(mask))), IMM(0), IMM(sizeof(mask))),
	              CRCORE_EQUAL, 0);
	t->host->call(p, "ttys: set foreground group", SYS_ioctl, ARGS(RESULT(fd), IMM(TIOCSPGRP),
	              DATA(t->host->data(p, &group, sizeof(group)))), expect, 0);
	close_terminal(t, p, fd);
	return 0;
}

/* Puts /dev/tty itself in the place of the terminal that stands in for it. */
static void open_controlling(struct ttys *t, struct crcore_program *p, const Ttys__End *e)
{
	uint32_t path = t->host->data(p, "/dev/tty", 9), fd;

	fd = t->host->call(p, "ttys: open /dev/tty", SYS_openat, ARGS(IMM(AT_FDCWD), DATA(path),
	                   IMM((e->flags & (O_ACCMODE | SETTABLE)) | O_CLOEXEC)), CRCORE_ANY, 0);
	t->host->call(p, "ttys: place /dev/tty", SYS_dup3, ARGS(RESULT(fd), IMM(e->fd - 1),
	              IMM(e->cloexec ? O_CLOEXEC : 0)), CRCORE_ANY, 0);
	close_terminal(t, p, fd);
}

static int emit_late(struct ttys *t, const struct crcore_task *task, struct crcore_program *p,
                     struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < t->nends; i++)
		if (t->ends[i]->side == TTYS__SIDE__CONTROLLING && t->ends[i]->fd &&
		    t->ends[i]->pid == (uint32_t)task->pid)
			open_controlling(t, p, t->ends[i]);
	for (unsigned i = 0; !r && i < t->nsessions; i++)
		if (t->sessions[i]->sid == (uint32_t)task->pid && t->sessions[i]->foreground)
			r = set_foreground(t, p, ttys_made(t, t->sessions[i]->terminal),
			                   t->sessions[i]->foreground, CRCORE_EQUAL, err);
	/* Without a terminal of its own crcore cannot make anybody the foreground: no failure. */
	for (unsigned i = 0; !r && task->index == 0 && i < t->nmade; i++)
		if (t->made[i]->rec->external && t->made[i]->rec->foreground)
			r = set_foreground(t, p, t->made[i], t->made[i]->rec->foreground, CRCORE_ANY, err);
	return r;
}

int ttys_emit(void *state, const struct crcore_task *task, uint32_t phase, struct crcore_program *p,
              struct crcore_error *err)
{
	struct ttys *t = state;
	int r = 0;

	if (phase == CRCORE_PHASE_LATE)
		return emit_late(t, task, p, err);
	if (phase != CRCORE_PHASE_SESSION)
		return 0;
	for (unsigned i = 0; !r && i < t->nsessions; i++)
		if (t->sessions[i]->sid == (uint32_t)task->pid)
			r = take_terminal(t, p, ttys_made(t, t->sessions[i]->terminal), err);
	return r;
}
