/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: looking things up in /proc, and who of the tree holds what. */
#include "events.h"

#include <ctype.h>
#include <dirent.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <sys/syscall.h>

#define LINE_ROOM 1024 /* more than any line that is looked into */

const char *fdinfo_find(const char *fdinfo, const char *key)
{
	size_t len = strlen(key);

	while (fdinfo && *fdinfo) {
		if (!strncmp(fdinfo, key, len) && fdinfo[len] == ':')
			return fdinfo + len + 1;
		fdinfo = strchr(fdinfo, '\n');
		fdinfo = fdinfo ? fdinfo + 1 : NULL;
	}
	return NULL;
}

int fdinfo_each(const char *fdinfo, int (*fn)(const char *line, void *arg, struct crcore_error *),
                void *arg, struct crcore_error *err)
{
	char line[LINE_ROOM];
	int r = 0;

	for (const char *p = fdinfo, *end; r == 0 && p && *p; p = end + (*end == '\n')) {
		end = strchrnul(p, '\n');
		snprintf(line, sizeof(line), "%.*s", (int)(end - p), p);
		r = fn(line, arg, err);
	}
	return r;
}

uint64_t fdinfo_number(const char *fdinfo, const char *key, int base)
{
	const char *p = fdinfo_find(fdinfo, key);

	return p ? strtoull(p, NULL, base) : 0;
}

char *fdinfo_read(pid_t pid, int fd)
{
	char path[64], *text = NULL;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	else
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return read_whole(AT_FDCWD, path, &text) < 0 ? NULL : text;
}

pid_t events_table(struct events *e, const struct crcore_task *t)
{
	const struct crcore_task *first;
	pid_t *more;

	if (t->index >= e->ntables) {
		more = realloc(e->tables, (t->index + 1) * sizeof(*more));
		if (!more)
			return t->pid;
		e->tables = more;
		memset(more + e->ntables, 0, (t->index + 1 - e->ntables) * sizeof(*more));
		e->ntables = t->index + 1;
	}
	if (e->tables[t->index])
		return e->tables[t->index];
	for (uint32_t i = 0; (first = e->host->task(e->ctx, i)) && first != t; i++)
		if (syscall(SYS_kcmp, first->pid, t->pid, KCMP_FILES, 0L, 0L) == 0)
			break;
	e->tables[t->index] = first ? first->pid : t->pid;
	return e->tables[t->index];
}

int events_each_fd(pid_t pid, ino_t ino, int (*fn)(void *arg, pid_t pid, int fd), void *arg)
{
	char path[40];
	struct dirent *d;
	struct stat st;
	int r = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && !r && (d = readdir(dir)))
		if (isdigit((unsigned char)d->d_name[0]) && fstatat(dirfd(dir), d->d_name, &st, 0) == 0 &&
		    st.st_ino == ino)
			r = fn(arg, pid, atoi(d->d_name));
	if (dir)
		closedir(dir);
	return r;
}

/* -- all descriptors -------------------------------------------------------------------- */

static int by_inode(const void *a, const void *b)
{
	const struct events_fd *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	if (x->task != y->task)
		return x->task < y->task ? -1 : 1;
	return (x->fd > y->fd) - (x->fd < y->fd);
}

static int list_table(const struct crcore_task *t, struct events_fds *l)
{
	char path[40];
	struct dirent *d;
	struct stat st;
	int r = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)t->pid);
	dir = opendir(path);
	while (dir && !r && (d = readdir(dir))) {
		if (!isdigit((unsigned char)d->d_name[0]) || fstatat(dirfd(dir), d->d_name, &st, 0) < 0)
			continue;
		if (!GROW(l->v, l->n))
			r = -ENOMEM;
		else
			l->v[l->n++] = (struct events_fd){ st.st_ino, t->index, t->pid, atoi(d->d_name), 0 };
	}
	if (dir)
		closedir(dir);
	return r;
}

int events_list_fds(struct events *e, struct events_fds *ret)
{
	const struct crcore_task *t;
	int r = 0;

	for (uint32_t i = 0; r == 0 && (t = e->host->task(e->ctx, i)); i++)
		if (events_table(e, t) == t->pid)
			r = list_table(t, ret);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_inode);
	return r;
}

unsigned events_first_fd(const struct events_fds *l, ino_t ino)
{
	unsigned a = 0, b = l->n;

	while (a < b) {
		unsigned m = a + (b - a) / 2;
		if (l->v[m].ino < ino)
			a = m + 1;
		else
			b = m;
	}
	return a;
}
