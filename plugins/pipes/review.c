/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: which pipes of the tree have an end outside. Reading all of /proc for
 * that would be slow, and is needed only for the message: if both sides are
 * held in the tree all is well, and if one is missing the kernel tells whether
 * it is open at all.
 */
#include "pipes.h"

#include <dirent.h>
#include <poll.h>
#include "plugins/tasks.h"

#define MAX_SCANS 8

/* -- the pipes of the tree ----------------------------------------------------------- */

static int by_inode(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* The object that was found first names the pipe. */
static int by_object(const void *a, const void *b)
{
	const struct known *x = a, *y = b;
	int r = by_inode(a, b);

	return r ? r : (x->first->id > y->first->id) - (x->first->id < y->first->id);
}

struct known *pipes_find(const struct pipes *p, dev_t dev, ino_t ino)
{
	struct known key = { .dev = dev, .ino = ino };

	return p->nknown ? bsearch(&key, p->known, p->nknown, sizeof(key), by_inode) : NULL;
}

static int list_pipes(struct pipes *p, struct crcore_error *err)
{
	const struct crcore_object *obj;
	unsigned n = 0, kept = 0;

	while (p->host->object(p->ctx, n))
		n++;
	free(p->known);
	p->nknown = 0;
	p->scans = 0;
	p->known = calloc(n + 1, sizeof(*p->known));
	if (!p->known)
		return crcore_no_memory(err);
	for (unsigned i = 0; (obj = p->host->object(p->ctx, i)) && i < n; i++)
		p->known[i] = (struct known){ .dev = obj->st.st_dev, .ino = obj->st.st_ino, .first = obj,
			.readers = pipes_can_read(obj->flags), .writers = pipes_can_write(obj->flags) };
	qsort(p->known, n, sizeof(*p->known), by_object);
	for (unsigned i = 0; i < n; i++) {
		struct known *last = kept ? &p->known[kept - 1] : NULL;
		if (last && !by_inode(last, &p->known[i])) {
			last->readers += p->known[i].readers;
			last->writers += p->known[i].writers;
		} else {
			p->known[kept] = p->known[i];
			p->known[kept].number = kept + 1;
			kept++;
		}
	}
	p->nknown = kept;
	return 0;
}

int pipes_own(struct pipes *p, unsigned capacity, struct crcore_error *err)
{
	if (p->own[0] < 0 && pipe2(p->own, O_CLOEXEC | O_NONBLOCK) < 0)
		return crcore_fail(err, -errno, "cannot make a pipe to copy to: %s", strerror(errno));
	if (!p->own_capacity)
		p->own_capacity = (unsigned)fcntl(p->own[0], F_GETPIPE_SZ);
	if (capacity > p->own_capacity) {
		if (fcntl(p->own[0], F_SETPIPE_SZ, (int)capacity) < 0) {
			int e = errno;
			crcore_advise(err, "raise /proc/sys/fs/pipe-max-size to %u", capacity);
			return crcore_fail(err, -e, "cannot make a pipe of %u bytes to copy to: %s", capacity,
			                   strerror(e));
		}
		p->own_capacity = capacity;
	}
	return 0;
}

/* -- the other end ---------------------------------------------------------------------- */

static bool hung_up(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) >= 0 && poll_fd.revents & POLLHUP;
}

/* 1: some writer has it open, 0: none, negative errno. Takes nothing out. */
static int has_writer(struct pipes *p, int fd, struct crcore_error *err)
{
	char byte;
	ssize_t n;
	int r;

	if (hung_up(fd))
		return 0;
	/* A FIFO does not hang up before its first writer, but tee sees an end of file. */
	r = pipes_own(p, 0, err);
	if (r < 0)
		return r;
	n = tee(fd, p->own[1], 1, SPLICE_F_NONBLOCK);
	if (n > 0 && read(p->own[0], &byte, 1) != 1)
		return crcore_fail(err, -EIO, "cannot look into it");
	return n != 0;
}

static bool has_reader(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };

	return !(poll(&poll_fd, 1, 0) >= 0 && poll_fd.revents & POLLERR);
}

/* Whether one of the descriptors of pid is the wanted end. */
static bool holds(pid_t pid, const struct known *k, bool writer)
{
	char path[PATH_MAX], line[128];
	bool found = false;
	unsigned flags;
	struct dirent *e;
	struct stat st;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		FILE *info;
		if (fstatat(dirfd(d), e->d_name, &st, 0) < 0 || st.st_ino != k->ino || st.st_dev != k->dev)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, e->d_name);
		info = fopen(path, "re");
		while (info && fgets(line, sizeof(line), info))
			if (sscanf(line, "flags: %o", &flags) == 1)
				found = writer ? pipes_can_write(flags) : pipes_can_read(flags);
		if (info)
			fclose(info);
	}
	if (d)
		closedir(d);
	return found;
}

/* The process outside that holds the other end, 0: not found. For the message only. */
static pid_t find_holder(struct pipes *p, const struct known *k, bool writer, char comm[32])
{
	struct dirent *e;
	pid_t pid = 0;
	char path[64];
	FILE *in;
	DIR *d = p->scans++ < MAX_SCANS ? opendir("/proc") : NULL;

	while (d && (e = readdir(d))) {
		pid = (pid_t)atoi(e->d_name);
		if (pid > 0 && pid != getpid() && !task_find(p->host, p->ctx, pid) && holds(pid, k, writer))
			break;
		pid = 0;
	}
	if (d)
		closedir(d);
	snprintf(comm, 32, "?");
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	in = pid ? fopen(path, "re") : NULL;
	if (in && fgets(comm, 32, in))
		comm[strcspn(comm, "\n")] = '\0';
	if (in)
		fclose(in);
	return pid;
}

static int refuse(struct pipes *p, const struct known *k, bool writer, struct crcore_error *err)
{
	const char *end = writer ? "writing" : "reading";
	char comm[32];
	pid_t holder = find_holder(p, k, writer, comm);

	crcore_fail_at(err, k->first->pid, k->first->fd, "%s", k->first->link);
	crcore_advise(err, "dump a tree with both ends in it, start the program with files in place of "
	              "this pipe, or set external of the plugin pipes to inherit (crcore's own "
	              "standard streams take its place) or to closed");
	if (holder)
		return crcore_fail(err, -ENOTSUP, "its %s end is held by process %d (%s), outside the tree",
		                   end, (int)holder, comm);
	return crcore_fail(err, -ENOTSUP, "its %s end is open outside the tree", end);
}

/* A duplicate of the end in its task; it keeps the pipe open no longer than this call. */
static int borrow(const struct pipes *p, const struct crcore_object *obj, struct crcore_error *err)
{
	int fd = task_fetch(p->host, p->ctx, obj->pid, obj->fd);

	if (fd < 0 && obj->pid == getpid()) { /* found in another object */
		fd = fcntl(obj->fd, F_DUPFD_CLOEXEC, 0);
		fd = fd < 0 ? -errno : fd;
	}
	if (fd >= 0)
		return fd;
	return crcore_fail(err, fd == -EBADF || fd == -ESRCH ? -EAGAIN : fd,
	                   "cannot reach it from here: %s", strerror(-fd));
}

static int look_outside(struct pipes *p, struct known *k, const struct crcore_object *obj,
                        struct crcore_error *err)
{
	bool writer = !k->writers;
	int fd = borrow(p, obj, err), r;

	if (fd < 0)
		return fd;
	r = writer ? has_writer(p, fd, err) : has_reader(fd);
	k->outside = r > 0;
	k->no_writer_yet = writer && !r && !hung_up(fd);
	close(fd);
	if (k->outside && p->external == EXTERNAL_REFUSE)
		r = refuse(p, k, writer, err);
	return r < 0 ? r : 0;
}

int pipes_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct pipes *p = state;
	struct known *k;
	int r;

	if (obj == p->host->object(p->ctx, 0) && (r = list_pipes(p, err)) < 0)
		return r;
	k = pipes_find(p, obj->st.st_dev, obj->st.st_ino);
	if (!k || k->first != obj || (k->readers && k->writers))
		return 0;
	r = look_outside(p, k, obj, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
