/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: records to descriptors. A slave is opened through its master
 * (TIOCGPTPEER), so it does not matter where devpts is mounted. The plugin
 * keeps a slave of each terminal open until settle: without one the terminal
 * would already look hung up to its master.
 */
#include "ttys.h"

/* -- pseudo-terminals ---------------------------------------------------------------- */

static int set_up(struct ttys *t, struct made *m, int master, bool has_slave,
                  struct crcore_error *err)
{
	const Ttys__Terminal *rec = m->rec;
	const struct flight flight = { rec->to_slave.data, rec->to_master.data, rec->to_slave.len,
		                       rec->to_master.len };
	int zero = 0, one = 1;
	struct termios2 termios;
	char path[40];
	int r = 0;

	memcpy(&termios, rec->termios.data, sizeof(termios));
	if (ioctl(master, TIOCSPTLCK, &zero) < 0 || ioctl(master, TIOCSWINSZ, rec->winsize.data) < 0 ||
	    ioctl(master, TCSETS2, &termios) < 0)
		return crcore_fail(err, -errno, "cannot set it up: %s", strerror(errno));
	snprintf(path, sizeof(path), "/dev/pts/%u", m->number);
	if (has_slave || rec->slave_closed) {
		m->slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (m->slave < 0)
			return crcore_fail(err, -errno, "cannot open its slave side: %s", strerror(errno));
		if (fchown(m->slave, rec->uid, rec->gid) < 0 || fchmod(m->slave, rec->mode & 07777) < 0)
			r = -errno;
	} else if (chown(path, rec->uid, rec->gid) < 0 || chmod(path, rec->mode & 07777) < 0) {
		r = -errno;
	}
	if (r < 0)
		return crcore_fail(err, r, "cannot give it its owner and mode: %s", strerror(-r));
	if (m->slave >= 0)
		r = flight_put(master, m->slave, &termios, &flight, err);
	if (!r && ((rec->packet && ioctl(master, TIOCPKT, &one) < 0) ||
	           (rec->exclusive && m->slave >= 0 && ioctl(m->slave, TIOCEXCL) < 0) ||
	           (rec->locked && ioctl(master, TIOCSPTLCK, &one) < 0) ||
	           (rec->fixed.len && ioctl(master, TIOCSLCKTRMIOS, rec->fixed.data) < 0)))
		r = crcore_fail(err, -errno, "cannot set its modes: %s", strerror(errno));
	return r;
}

static int open_master(struct ttys *t, struct made *m, const Ttys__End *e, struct crcore_error *err)
{
	bool has_slave = false;
	int fd, r;

	fd = numbers_open(t, e->path, (int)e->flags & (O_ACCMODE | SETTABLE), m->rec->number, err);
	if (fd < 0)
		return fd;
	for (unsigned i = 0; i < t->nends; i++)
		has_slave |= t->ends[i]->terminal == m->rec->key && t->ends[i] != e;
	for (unsigned i = 0; i < t->nsessions; i++)
		has_slave |= t->sessions[i]->terminal == m->rec->key;
	r = ioctl(fd, TIOCGPTN, &m->number) < 0 ? -errno : set_up(t, m, fd, has_slave, err);
	if (r < 0)
		close(fd);
	if (t->masters && !--t->masters)
		numbers_release(t);
	return r < 0 ? r : fd;
}

static int open_peer(int master, uint32_t flags, struct crcore_error *err)
{
	/* Here, unlike in open(2), O_CLOEXEC would stay in the flags of the description. */
	int fd = ioctl(master, TIOCGPTPEER, (flags & (O_ACCMODE | KERNEL_LARGEFILE | O_NONBLOCK)) |
	               O_NOCTTY);

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot open the slave side: %s", strerror(errno));
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, (int)flags & SETTABLE) < 0) {
		int r = -errno;
		close(fd);
		return crcore_fail(err, r, "cannot set its flags: %s", strerror(-r));
	}
	return fd;
}

static int open_slave(struct ttys *t, struct made *m, const Ttys__End *e, struct crcore_error *err)
{
	int zero = 0, master = m->master;

	if (!m->rec->hung_up) {
		master = t->host->need(t->ctx, m->master_id, err);
	} else if (master < 0) { /* closed at settle: that hangs the slaves up */
		master = m->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (master < 0 || ioctl(master, TIOCSPTLCK, &zero) < 0)
			return crcore_fail(err, -errno, "cannot make a pseudo-terminal: %s", strerror(errno));
	}
	return master < 0 ? master : open_peer(master, e->flags, err);
}

/* -- the terminal of crcore -------------------------------------------------------------- */

int ttys_own_terminal(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (isatty(fd))
			return fd;
	return -1;
}

static void put_back(void *arg)
{
	struct ttys *t = arg;
	int fd = t->own_changed ? ttys_own_terminal() : -1;

	if (fd >= 0)
		ioctl(fd, TCSETS2, &t->own_before);
}

/* A program may have the terminal in raw mode, say. Its size stays what it is. */
static int take_over(struct ttys *t, const Ttys__Terminal *rec, int fd, struct crcore_error *err)
{
	struct termios2 termios;
	int r;

	if (t->own_changed)
		return 0;
	memcpy(&termios, rec->termios.data, sizeof(termios));
	if (ioctl(fd, TCGETS2, &t->own_before) < 0)
		return crcore_fail(err, -errno, "cannot ask for the settings of the terminal: %s",
		                   strerror(errno));
	r = t->host->undo(t->ctx, put_back, t, false, err);
	if (r < 0)
		return r;
	t->own_changed = true;
	if (ioctl(fd, TCSETS2, &termios) < 0)
		return crcore_fail(err, -errno, "cannot set the terminal: %s", strerror(errno));
	return 0;
}

static int open_external(struct ttys *t, struct made *m, const Ttys__End *e,
                         struct crcore_error *err)
{
	int own = ttys_own_terminal(), fd, r;
	char path[40];

	if (own < 0)
		return crcore_fail(err, -ENOTTY, "crcore has no terminal to give it");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
	fd = open(path, (int)(e->flags & (O_ACCMODE | SETTABLE)) | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return crcore_fail(err, -errno, "cannot open the terminal of crcore: %s", strerror(errno));
	r = take_over(t, m->rec, fd, err);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

/* -- hooks ------------------------------------------------------------------------------- */

int ttys_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max, struct crcore_error *err)
{
	struct ttys *t = state;
	const Ttys__End *e = ttys_end(t, id);
	const struct made *m = e ? ttys_made(t, e->terminal) : NULL;

	if (!m || !m->master_id || m->master_id == id || !max)
		return 0;
	ret_needs[0] = m->master_id;
	return 1;
}

int ttys_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct ttys *t = state;
	const Ttys__End *e = ttys_end(t, id);
	struct made *m = e ? ttys_made(t, e->terminal) : NULL;
	int fd;

	if (!m)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
	if (e->side == TTYS__SIDE__MASTER)
		fd = open_master(t, m, e, err);
	else if (m->rec->external)
		fd = open_external(t, m, e, err);
	else if (*m->rec->path)
		fd = console_open(t, m, e, err);
	else
		fd = open_slave(t, m, e, err);
	if (fd < 0)
		crcore_fail_at(err, -1, -1, "%s", e->path);
	return fd;
}

int ttys_settle(void *state, struct crcore_error *err)
{
	struct ttys *t = state;

	for (unsigned i = 0; i < t->nmade; i++) {
		struct made *m = t->made[i];
		if (m->slave >= 0)
			close(m->slave);
		if (m->master >= 0)
			close(m->master);
		m->slave = m->master = -1;
	}
	return 0;
}
