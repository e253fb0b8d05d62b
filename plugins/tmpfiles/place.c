/* SPDX-License-Identifier: Apache-2.0 */
/* Paths: sound ones, and how they are walked without following a symlink. */
#include "tmpfiles.h"

#include <linux/openat2.h>
#include <sys/syscall.h>

bool place_valid(const char *path)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len < 2 || len >= PATH_MAX)
		return false;
	for (const char *p = path; *p;) {
		size_t n = strcspn(++p, "/");
		if (!n || n > NAME_MAX || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

int place_open(int at, const char *rel, int flags, uint64_t resolve)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | resolve };
	long fd = syscall(SYS_openat2, at, rel, &how, sizeof(how));

	if (fd < 0 && errno == EPERM && flags & O_NOATIME) {
		how.flags &= ~(uint64_t)O_NOATIME;
		fd = syscall(SYS_openat2, at, rel, &how, sizeof(how));
	}
	return fd < 0 ? -errno : (int)fd;
}

int place_parent(const struct tmpfiles *t, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX] = ".";

	*ret_name = slash + 1;
	if (slash != path)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path - 1), path + 1);
	return place_open(t->root, dir, O_PATH | O_DIRECTORY, 0);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void names_free(char **names)
{
	for (char **n = names; n && *n; n++)
		free(*n);
	free(names);
}

/* scandir() would open the directory again, and change its access time. */
int place_list(int dir, char ***ret)
{
	char **v = NULL;
	unsigned n = 0;
	int own = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	cleanup_dir DIR *d = own < 0 ? NULL : fdopendir(own);
	int r = d ? 0 : -errno;

	if (!d && own >= 0)
		close(own);
	while (r == 0) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (e && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")))
			continue;
		if (!e && errno)
			r = -errno;
		else if (!GROW(v, n) || (e && !(v[n] = strdup(e->d_name))))
			r = -ENOMEM;
		else if (!e)
			break;
		else
			n++;
	}
	if (r == 0) {
		v[n] = NULL;
		qsort(v, n, sizeof(*v), by_name);
		*ret = v;
		return 0;
	}
	while (n)
		free(v[--n]);
	free(v);
	return r;
}

void place_link(int fd, char ret[40])
{
	snprintf(ret, 40, "/proc/self/fd/%d", fd);
}

int place_fail(const char *path, int code, const char *what, struct crcore_error *err)
{
	char real[PATH_MAX];

	crcore_fail_at(err, -1, -1, "%s", path);
	if (code == -ELOOP) {
		if (realpath(path, real))
			crcore_advise(err, "name it without symbolic links: %s", real);
		else
			crcore_advise(err, "name it without symbolic links, or use remap");
		return crcore_fail(err, code, "%s: its path leads through a symbolic link, which is not "
		                   "followed", what);
	}
	if (code == -ENOSPC || code == -EDQUOT)
		crcore_advise(err, "free some space there");
	return crcore_fail(err, code, "%s: %s", what, strerror(-code));
}

int inode_compare(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}
