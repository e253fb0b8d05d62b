/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: masters of pseudo-terminals, each with the number that it had. A new one gets the
 * lowest that is free, so those below are made, too, and held: they may be wanted next. Each
 * number is made once, in whichever order they are asked for.
 */
#include "ttys.h"

#define TRIES 4096 /* for one; more than that the kernel hardly allows */

/* That was made on the way to another; -1: none that will do. */
static int take_held(struct ttys *t, unsigned number, int flags)
{
	int fd = number < t->nheld ? t->held[number] : -1;

	if (fd < 0)
		return -1;
	t->held[number] = -1;
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == (flags & O_ACCMODE) &&
	    fcntl(fd, F_SETFL, flags & SETTABLE) == 0)
		return fd;
	close(fd); /* its number is free again */
	return -1;
}

static int hold(struct ttys *t, unsigned number, int fd, struct crcore_error *err)
{
	int *more = number < t->nheld ? t->held : realloc(t->held, (number + 1) * sizeof(*more));

	if (!more)
		return crcore_no_memory(err);
	for (t->held = more; t->nheld <= number; t->nheld++)
		more[t->nheld] = -1;
	more[number] = fd;
	return 0;
}

static int taken(struct crcore_error *err)
{
	crcore_advise(err, "end what uses it, or set renumber of the plugin ttys");
	return crcore_fail(err, -EEXIST, "the number of this pseudo-terminal is taken");
}

/* The next that there is: it is the one, or goes to those that are held (*ret -1). */
static int make(struct ttys *t, const char *path, int flags, unsigned number, int *ret,
                struct crcore_error *err)
{
	int fd = open(path, flags | O_NOCTTY | O_CLOEXEC), r = 0;
	unsigned got = 0;

	if (fd < 0 || ioctl(fd, TIOCGPTN, &got) < 0) {
		r = -errno;
		crcore_fail(err, r, "cannot make a pseudo-terminal: %s", strerror(-r));
	} else if (got == number || (got > number && t->renumber)) {
		*ret = fd;
	} else {
		r = got > number ? taken(err) : hold(t, got, fd, err);
	}
	if (r < 0 && fd >= 0)
		close(fd);
	return r;
}

int numbers_open(struct ttys *t, const char *path, int flags, unsigned number,
                 struct crcore_error *err)
{
	int fd, r = 0;

	if (t->held_path && strcmp(t->held_path, path)) /* numbers of another devpts, maybe */
		numbers_release(t);
	if (!t->held_path && !(t->held_path = strdup(path)))
		return crcore_no_memory(err);
	fd = take_held(t, number, flags);
	for (int i = 0; fd < 0 && r == 0 && i < TRIES; i++)
		r = make(t, path, flags, number, &fd, err);
	return r < 0 ? r : fd < 0 ? taken(err) : fd;
}

void numbers_release(struct ttys *t)
{
	for (unsigned i = 0; i < t->nheld; i++)
		if (t->held[i] >= 0)
			close(t->held[i]);
	free(t->held);
	free(t->held_path);
	t->held = NULL;
	t->held_path = NULL;
	t->nheld = 0;
}
