/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of /proc/PID (proc(5)), relative to an open directory of it, so
 * that a pid that is reused meanwhile is never mistaken for the old task.
 */
#include <ctype.h>
#include <fcntl.h>
#include "core/task/task.h"
#include "core/util/util.h"

int proc_open(pid_t pid, struct crcore_error *err)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	int e = errno;
	crcore_fail_at(err, pid, -1, "task %d", pid);
	if (e == ENOENT) {
		crcore_advise(err, "check the pid; it must live in this pid namespace");
		return crcore_fail(err, -ESRCH, "no such process");
	}
	return crcore_fail(err, -e, "cannot open %s: %s", path, strerror(e));
}

/* A file of a task that is gone is missing like one that the kernel never had. */
static int cannot(int proc, const char *what, const char *name, struct crcore_error *err)
{
	int e = errno;

	if (e == ENOENT && faccessat(proc, "stat", F_OK, 0) < 0)
		e = ESRCH;
	return crcore_fail(err, -e, "cannot %s /proc/PID/%s: %s", what, name, strerror(e));
}

/* whole: the kernel makes the text at once, so a short read is the last. */
static int read_file(int proc, const char *name, bool whole, char **ret, size_t *ret_len,
                     struct crcore_error *err)
{
	cleanup_close int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cannot(proc, "open", name, err);

	size_t cap = 4096, len = 0;
	cleanup_free char *buf = malloc(cap);
	while (buf) {
		ssize_t n = read(fd, buf + len, cap - len - 1);
		if (n < 0)
			return cannot(proc, "read", name, err);
		const bool last = n == 0 || (whole && (size_t)n < cap - len - 1);
		len += (size_t)n;
		if (last)
			break;
		if (cap - len < 2048) {
			char *t = realloc(buf, cap *= 2);
			if (!t)
				return crcore_no_memory(err);
			buf = t;
		}
	}
	if (!buf)
		return crcore_no_memory(err);
	buf[len] = '\0';
	if (ret_len)
		*ret_len = len;
	*ret = STEAL(buf);
	return 0;
}

int proc_read(int proc, const char *name, char **ret, size_t *ret_len, struct crcore_error *err)
{
	return read_file(proc, name, false, ret, ret_len, err);
}

int proc_read_whole(int proc, const char *name, char **ret, size_t *ret_len,
                    struct crcore_error *err)
{
	return read_file(proc, name, true, ret, ret_len, err);
}

/* The fields after the name, which may itself hold spaces and parentheses. */
int proc_stat(int proc, struct proc_stat *ret, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	unsigned long long f[53] = { 0 };
	int r = proc_read_whole(proc, "stat", &text, NULL, err);
	if (r < 0)
		return r;

	char *open_paren = strchr(text, '('), *close_paren = strrchr(text, ')');
	if (!open_paren || !close_paren || close_paren[1] != ' ')
		return crcore_fail(err, -EIO, "/proc/PID/stat has an unknown form");
	memset(ret, 0, sizeof(*ret));
	ret->pid = atoi(text);
	snprintf(ret->comm, sizeof(ret->comm), "%.*s", (int)(close_paren - open_paren - 1),
	         open_paren + 1);
	ret->state = close_paren[2];
	char *p = close_paren + 3;
	for (int i = 4; i <= 52; i++)
		f[i] = strtoull(p, &p, 10); /* negates by itself where there is a minus */
	ret->ppid = (pid_t)f[4];
	ret->pgid = (pid_t)f[5];
	ret->sid = (pid_t)f[6];
	ret->tty_nr = (int)f[7];
	ret->tty_pgrp = (pid_t)f[8];
	ret->flags = f[9];
	ret->nice = (long)f[19];
	ret->num_threads = (int)f[20];
	ret->start_time = f[22];
	ret->start_code = f[26];
	ret->end_code = f[27];
	ret->start_stack = f[28];
	ret->exit_signal = (int)f[38];
	ret->start_data = f[45];
	ret->end_data = f[46];
	ret->start_brk = f[47];
	ret->arg_start = f[48];
	ret->arg_end = f[49];
	ret->env_start = f[50];
	ret->env_end = f[51];
	ret->exit_code = (int)f[52];
	return 0;
}

static int pid_add(pid_t **v, unsigned *n, pid_t pid, struct crcore_error *err)
{
	if (!GROW(*v, *n))
		return crcore_no_memory(err);
	(*v)[(*n)++] = pid;
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	return *(const pid_t *)a < *(const pid_t *)b ? -1 : *(const pid_t *)a > *(const pid_t *)b;
}

/* All thread ids, the leader's (the smallest is not always it) first. */
int proc_tids(int proc, pid_t pid, pid_t **ret, unsigned *ret_n, struct crcore_error *err)
{
	cleanup_free pid_t *v = NULL;
	unsigned n = 0;
	int r, fd = openat(proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return cannot(proc, "list", "task", err);
	cleanup_dir DIR *d = fdopendir(fd);
	if (!d) {
		close(fd);
		return crcore_no_memory(err);
	}
	for (struct dirent *e; (e = readdir(d));)
		if (isdigit((unsigned char)e->d_name[0]) &&
		    (r = pid_add(&v, &n, atoi(e->d_name), err)) < 0)
			return r;
	if (!n)
		return crcore_fail(err, -ESRCH, "no such process");
	qsort(v, n, sizeof(*v), by_pid);
	for (unsigned i = 1; i < n; i++)
		if (v[i] == pid) {
			memmove(v + 1, v, i * sizeof(*v));
			v[0] = pid;
		}
	*ret = STEAL(v);
	*ret_n = n;
	return 0;
}

int proc_children(int proc, pid_t tid, pid_t **v, unsigned *n, struct crcore_error *err)
{
	char name[48];
	cleanup_free char *text = NULL;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	int r = proc_read(proc, name, &text, NULL, err);
	if (r < 0)
		return r;
	for (char *p = text, *end;; p = end) {
		pid_t pid = (pid_t)strtol(p, &end, 10);
		if (end == p)
			return 0;
		if ((r = pid_add(v, n, pid, err)) < 0)
			return r;
	}
}

const char *proc_field(const char *status, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = status; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (!strncmp(p, key, len) && p[len] == ':') {
			for (p += len + 1; *p == '\t' || *p == ' ';)
				p++;
			return p;
		}
	return NULL;
}
