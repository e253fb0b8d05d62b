/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree that lives in namespaces of its own. Where the names of paths and objects
 * depend on one (ENTERED) the worker enters it, so that hooks find what the tree has
 * under the names that the tree has for it; the others are left to the first task of
 * a restore, which joins all. Those of pids, users and time cannot be joined.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include "core/task/namespaces.h"
#include "core/task/task.h"
#include "core/util/util.h"

#define NS_TYPE _IO(0xb7, 3) /* NS_GET_NSTYPE */
#define ENTERED (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET)
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

bool namespace_is_joinable(uint32_t type)
{
	return type && !(type & (CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWTIME));
}

bool namespace_is_entered(uint32_t type)
{
	return type & ENTERED;
}

uint32_t namespace_type(int fd)
{
	int type = ioctl(fd, NS_TYPE);

	return type < 0 ? 0 : (uint32_t)type;
}

static int add(struct namespaces *n, int fd, struct crcore_error *err)
{
	uint32_t type = namespace_type(fd);

	if (n->n == NAMESPACES || !namespace_is_joinable(type) || (n->types & type)) {
		close(fd);
		return crcore_fail(err, -EINVAL, !type ? "it is no namespace" :
		                   n->types & type ? "there are two of that sort" :
		                   "namespaces of this sort cannot be joined");
	}
	n->types |= type;
	n->v[n->n++] = fd;
	return 0;
}

int namespaces_open(struct namespaces *ret, const char *const *paths, struct crcore_error *err)
{
	for (; paths && *paths; paths++) {
		int fd = open(*paths, O_RDONLY | O_CLOEXEC);
		int r = fd < 0 ? crcore_fail(err, -errno, "cannot be opened: %s", strerror(errno))
		               : add(ret, fd, err);
		if (r < 0) {
			crcore_fail_at(err, -1, -1, "--join-ns %s", *paths);
			crcore_advise(err, "name a file like /proc/PID/ns/mnt, or one that it is bound to");
			return r;
		}
	}
	return 0;
}

bool namespace_is_ours(int proc, const char *name)
{
	char theirs[64], ours[64], path[300];
	ssize_t a, b;

	snprintf(path, sizeof(path), "ns/%s", name);
	a = readlinkat(proc, path, theirs, sizeof(theirs));
	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	b = readlink(path, ours, sizeof(ours));
	return a < 0 || b < 0 || (a == b && !memcmp(theirs, ours, (size_t)a));
}

int namespaces_of(struct namespaces *ret, pid_t pid, struct crcore_error *err)
{
	cleanup_close int proc = proc_open(pid, err);
	int list = proc < 0 ? -1 : openat(proc, "ns", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup_dir DIR *dir = list < 0 ? NULL : fdopendir(list);

	if (proc < 0)
		return proc;
	for (struct dirent *e; r == 0 && dir && (e = readdir(dir));) {
		if (e->d_name[0] == '.' || strstr(e->d_name, "_for_children") ||
		    namespace_is_ours(proc, e->d_name))
			continue;
		int fd = openat(list, e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && !namespace_is_joinable(namespace_type(fd)))
			close(fd); /* places.c refuses it */
		else if (fd >= 0)
			r = add(ret, fd, err);
	}
	return r;
}

/* The /proc that we see now must show the same processes. */
static int check_proc(struct crcore_error *err)
{
	char text[16];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	if (n > 0 && atoi(text) == getpid())
		return 0;
	crcore_advise(err, "mount a /proc of this pid namespace there");
	return crcore_fail(err, -ENOTSUP, "its mount namespace has no /proc that shows it");
}

int namespaces_enter(const struct namespaces *n, bool all, struct crcore_error *err)
{
	/* The one that other files are found by comes last. */
	for (int last = 0; last < 2; last++)
		for (unsigned i = 0; i < n->n; i++) {
			uint32_t type = namespace_type(n->v[i]);
			if ((type == CLONE_NEWNS) != last || (!all && !(type & ENTERED)))
				continue;
			if (setns(n->v[i], (int)type) < 0) {
				crcore_advise(err, "run crcore with CAP_SYS_ADMIN and CAP_SYS_CHROOT");
				return crcore_fail(err, -errno, "cannot enter a namespace of the tree: %s",
				                   strerror(errno));
			}
		}
	return n->types & CLONE_NEWNS ? check_proc(err) : 0;
}

void namespaces_close(struct namespaces *n)
{
	for (unsigned i = 0; i < n->n; i++)
		close(n->v[i]);
	*n = (struct namespaces){ 0 };
}
