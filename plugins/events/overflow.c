/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, restore: telling the program that events were lost. The kernel does
 * that with an event of its own, IN_Q_OVERFLOW, which it queues when the queue
 * is full and which every user of inotify must expect. So the queue is filled,
 * with events of a file that nobody else knows, until it overflows; then all
 * but the last are read again.
 */
#include "events.h"

#include <stdio.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#define MOST (1u << 20) /* length of a queue that is filled; the default is 16384 */
#define PLAIN sizeof(struct inotify_event) /* an event without a name */

static int drain(int fd)
{
	char buf[16384] __attribute__((aligned(8)));
	int waiting;

	for (;;) {
		if (ioctl(fd, FIONREAD, &waiting) < 0)
			return -errno;
		if (!waiting)
			return 0;
		if (read(fd, buf, sizeof(buf)) < 0)
			return -errno;
	}
}

static unsigned queue_length(void)
{
	FILE *in = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
	unsigned n = 0;

	if (in && fscanf(in, "%u", &n) != 1)
		n = 0;
	if (in)
		fclose(in);
	return n;
}

/* Each event differs from the one before, or it would be merged with it. */
static int fill(int own, unsigned n)
{
	char byte = 0;

	for (unsigned i = 0; i <= n; i++)
		if ((i % 2 ? pread(own, &byte, 1, 0) : pwrite(own, &byte, 1, 0)) != 1)
			return -EIO;
	return 0;
}

static int take(int fd, unsigned n)
{
	char buf[256 * PLAIN] __attribute__((aligned(8)));

	while (n) {
		size_t room = (n < 256 ? n : 256) * PLAIN;
		ssize_t got = read(fd, buf, room);
		if (got < 0)
			return -errno;
		n -= (unsigned)((size_t)got / PLAIN) < n ? (unsigned)((size_t)got / PLAIN) : n;
	}
	return 0;
}

int inotify_overflow(int fd, struct crcore_error *err)
{
	cleanup_close int memory = memfd_create("crcore-watch", MFD_CLOEXEC);
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	/* Opened by name, or it reports nothing. */
	cleanup_close int own = open(path, O_RDWR | O_CLOEXEC);
	unsigned n = queue_length();
	int wd, r = 0, waiting = 0;

	if (!n || n > MOST)
		return crcore_fail(err, -ENOTSUP, "a queue of %u events cannot be made to overflow", n);
	r = own < 0 ? -errno : drain(fd);
	wd = r < 0 ? -1 : inotify_add_watch(fd, path, IN_ACCESS | IN_MODIFY);
	if (!r && wd < 0)
		r = -errno;
	if (!r)
		r = fill(own, n);
	if (wd >= 0)
		inotify_rm_watch(fd, wd); /* what this reports finds no room */
	if (!r)
		r = take(fd, n);
	if (!r && (ioctl(fd, FIONREAD, &waiting) < 0 || waiting < (int)PLAIN))
		r = -EPROTO;
	return r < 0 ? crcore_fail(err, r, "cannot tell the program that events were lost: %s",
	                           strerror(-r)) : 0;
}
