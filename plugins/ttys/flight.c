/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in flight. Nothing can look at them where they are, so a dump takes
 * them out and puts them back at once, while the tree is frozen; that is the
 * only moment at which somebody who kills crcore -9 could lose them.
 *
 * They are taken out after the terminal has worked on them, so they go back in
 * with settings under which it does nothing to them. One setting must stay as
 * it is: in canonical mode the terminal remembers where lines end, and counts
 * that anew when the mode changes.
 */
#include "ttys.h"

#include <poll.h>
#include <time.h>

#define MOST (1u << 20)

void flight_free(struct flight *f)
{
	free(f->to_slave);
	free(f->to_master);
	*f = (struct flight){ 0 };
}

/* Lets what is still on its way inside the kernel arrive. */
static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

static int take(int fd, unsigned char **ret, size_t *ret_n)
{
	int avail = 0;

	while (readable(fd) && ioctl(fd, FIONREAD, &avail) == 0 && avail > 0) {
		unsigned char *more = realloc(*ret, *ret_n + (size_t)avail);
		ssize_t n;
		if (!more)
			return -ENOMEM;
		*ret = more;
		n = read(fd, more + *ret_n, (size_t)avail);
		if (n < 0)
			return -errno;
		*ret_n += (size_t)n;
		if (!n || *ret_n > MOST)
			break;
	}
	return 0;
}

static int give(int fd, const unsigned char *bytes, size_t n)
{
	while (n) {
		ssize_t w = write(fd, bytes, n);
		if (w < 0 && errno == EAGAIN)
			w = 0;
		if (w <= 0)
			return w ? -errno : -ENOSPC;
		bytes += w;
		n -= (size_t)w;
	}
	return 0;
}

/* Waits until the slave side has seen what was written to the master. */
static void arrive(int slave, bool lines, const struct flight *f)
{
	const struct timespec moment = { .tv_nsec = 200000 };
	size_t due = f->nslave;
	int avail = 0;

	while (lines && due && f->to_slave[due - 1] != '\n')
		due--;
	for (int i = 0; i < 500; i++) {
		readable(slave);
		if (ioctl(slave, FIONREAD, &avail) < 0 || (size_t)avail >= due)
			break;
		nanosleep(&moment, NULL);
	}
	if (due && due < f->nslave) /* an unfinished line behind others does not show */
		for (int i = 0; i < 10; i++)
			nanosleep(&moment, NULL);
}

int flight_put(int master, int slave, const struct termios2 *final, const struct flight *f,
               struct crcore_error *err)
{
	struct termios2 safe = *final;
	int r;

	if (!f->nslave && !f->nmaster)
		return ioctl(master, TCSETS2, final) < 0 ?
		       crcore_fail(err, -errno, "cannot set the terminal: %s", strerror(errno)) : 0;
	safe.c_iflag = final->c_iflag & (IXON | IUTF8); /* without IXON it would start to move */
	safe.c_oflag = 0;
	safe.c_lflag = final->c_lflag & ICANON;
	memset(safe.c_cc, 0, sizeof(safe.c_cc));
	safe.c_cc[VMIN] = 1;
	if (ioctl(master, TCSETS2, &safe) < 0)
		return crcore_fail(err, -errno, "cannot set the terminal: %s", strerror(errno));
	r = give(slave, f->to_master, f->nmaster);
	if (!r)
		r = give(master, f->to_slave, f->nslave);
	if (!r)
		arrive(slave, final->c_lflag & ICANON, f);
	if (ioctl(master, TCSETS2, final) < 0 && !r)
		r = -errno;
	return r < 0 ?
	       crcore_fail(err, r, "cannot put back what was in the terminal: %s", strerror(-r)) : 0;
}

int flight_copy(int master, int slave, bool packet, struct flight *ret, struct crcore_error *err)
{
	struct termios2 old, raw;
	int off = 0, on = 1, avail = 0, r = 0, e;

	if (ioctl(master, TCGETS2, &old) < 0)
		return crcore_fail(err, -errno, "cannot ask for its settings: %s", strerror(errno));
	raw = old; /* an unfinished line can be read in raw mode only */
	raw.c_lflag &= ~(unsigned)ICANON;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	readable(master);
	if (ioctl(master, FIONREAD, &avail) == 0 && avail > 0) {
		if (packet)
			ioctl(master, TIOCPKT, &off);
		r = take(master, &ret->to_master, &ret->nmaster);
	}
	if (!r && ioctl(master, TCSETS2, &raw) < 0)
		r = -errno;
	if (!r)
		r = take(slave, &ret->to_slave, &ret->nslave);
	/* Whatever happened, what was taken goes back. */
	e = flight_put(master, slave, &old, ret, err);
	if (packet && ret->nmaster)
		ioctl(master, TIOCPKT, &on);
	if (r < 0)
		crcore_fail(err, r, "cannot read what is in the terminal: %s", strerror(-r));
	return r < 0 ? r : e;
}
