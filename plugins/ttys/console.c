/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consoles and serial lines. What drives such a terminal is the machine, so it is there at
 * the restore too and is opened again by its name; settings are put back, since the kernel
 * forgets them when nobody has it open. Bytes that nobody has read stay with the device,
 * as long as somebody else has it open.
 */
#include "ttys.h"

#include <linux/kd.h>
#include <linux/vt.h>

#define SERIAL_FROM 64 /* /dev/ttyS0: below are virtual consoles */

bool console_is(dev_t dev)
{
	return dev && !ttys_is_pts(dev) && dev != CONTROLLING_DEV && dev != MASTER_DEV;
}

int console_claim(const struct crcore_object *obj, struct crcore_error *err)
{
	struct vt_mode vt = { .mode = VT_AUTO };
	int mode = KD_TEXT, keys = K_XLATE;

	if (ioctl(obj->local_fd, KDGETMODE, &mode) < 0)
		return 0; /* no virtual console */
	ioctl(obj->local_fd, KDGKBMODE, &keys);
	ioctl(obj->local_fd, VT_GETMODE, &vt);
	if (mode == KD_TEXT && (keys == K_XLATE || keys == K_UNICODE) && vt.mode == VT_AUTO)
		return 0;
	crcore_advise(err, "let the program give the console back before the dump");
	return crcore_fail(err, -ENOTSUP, "it has taken the console over: %s",
	                   mode != KD_TEXT    ? "it draws on the screen itself" :
	                   vt.mode != VT_AUTO ? "it is asked before another console is shown" :
	                                        "it reads the bare keyboard");
}

bool console_reopens(const struct ttys *t, dev_t dev)
{
	const struct crcore_task *root = t->host->task(t->ctx, 0), *task = root;
	pid_t foreground;
	dev_t theirs;

	if (!console_is(dev) || t->consoles != CONSOLES_REOPEN)
		return false;
	for (uint32_t i = 0; task && task->pid != root->sid; )
		task = t->host->task(t->ctx, ++i);
	return task || !root || !ttys_of_task(root->pid, &theirs, &foreground) || theirs != dev;
}

int console_review(const struct crcore_object *obj, struct crcore_error *err)
{
	struct stat st;

	if (stat(obj->link, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == obj->st.st_rdev)
		return 0;
	crcore_advise(err, "make a device node of that name again");
	return crcore_fail(err, -ENOTSUP, "the name by which it was opened does not lead to it any "
	                   "more");
}

int console_check(const struct ttys *t, const Ttys__Terminal *rec, struct crcore_error *err)
{
	for (unsigned i = 0; i < t->nends; i++) {
		const Ttys__End *e = t->ends[i];
		struct stat st;
		if (e->terminal != rec->key || e->side != TTYS__SIDE__SLAVE ||
		    (stat(e->path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == rec->dev))
			continue;
		crcore_fail_at(err, -1, -1, "%s", e->path);
		crcore_advise(err, "restore where that device is, or dump with consoles of the plugin ttys "
		              "set to external");
		return crcore_fail(err, -ENODEV, "there is no terminal %u:%u of that name here",
		                   major(rec->dev), minor(rec->dev));
	}
	return 0;
}

static const struct termios none;

static void put_back(void *arg)
{
	struct made *m = arg;

	if (m->device < 0)
		return;
	ioctl(m->device, TIOCSLCKTRMIOS, &none);
	ioctl(m->device, TCSETS2, &m->before);
	ioctl(m->device, TIOCSLCKTRMIOS, &m->fixed_before);
}

/* The size of a virtual console is that of its screen. */
static bool has_own_size(dev_t dev)
{
	return major(dev) != TTYAUX_MAJOR && (major(dev) != TTY_MAJOR || minor(dev) >= SERIAL_FROM);
}

static int set_up(struct ttys *t, struct made *m, int fd, struct crcore_error *err)
{
	const Ttys__Terminal *rec = m->rec;
	struct termios2 termios;
	int r;

	if (m->device >= 0)
		return 0;
	memcpy(&termios, rec->termios.data, sizeof(termios));
	if (ioctl(fd, TCGETS2, &m->before) < 0 || ioctl(fd, TIOCGLCKTRMIOS, &m->fixed_before) < 0 ||
	    (r = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		return crcore_fail(err, -errno, "cannot ask for its settings: %s", strerror(errno));
	m->device = r;
	if ((r = t->host->undo(t->ctx, put_back, m, false, err)) < 0)
		return r;
	if ((memcmp(&m->fixed_before, &none, sizeof(none)) && ioctl(fd, TIOCSLCKTRMIOS, &none) < 0) ||
	    ioctl(fd, TCSETS2, &termios) < 0 ||
	    (rec->fixed.len && ioctl(fd, TIOCSLCKTRMIOS, rec->fixed.data) < 0) ||
	    (has_own_size(rec->dev) && ioctl(fd, TIOCSWINSZ, rec->winsize.data) < 0) ||
	    (rec->exclusive && ioctl(fd, TIOCEXCL) < 0))
		return crcore_fail(err, -errno, "cannot give it its settings: %s", strerror(errno));
	return 0;
}

int console_open(struct ttys *t, struct made *m, const Ttys__End *e, struct crcore_error *err)
{
	const char *path = e->side == TTYS__SIDE__SLAVE ? e->path : m->rec->path;
	/* A serial line would wait for the other end. */
	int fd = open(path, (int)(e->flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot open it: %s", strerror(errno));
	int r = set_up(t, m, fd, err);
	if (r == 0 && fcntl(fd, F_SETFL, (int)e->flags & SETTABLE) < 0)
		r = crcore_fail(err, -errno, "cannot set its flags: %s", strerror(errno));
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}
