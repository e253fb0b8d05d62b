/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on files. flock(2) and open file description locks belong to the
 * description: whoever makes it anew can take them, so they are kept. POSIX
 * locks belong to the task's table of descriptors and leases to a signal
 * handler; these are refused.
 */
#include "files.h"

#include <dirent.h>
#include <inttypes.h>
#include <sys/file.h>

/* One line of /proc/locks, or of fdinfo after "lock:\t". */
struct lock_line {
	char sort[8];  /* FLOCK, OFDLCK, POSIX, LEASE, DELEG */
	bool write;
	int pid;
	uint64_t ino, start, length;
};

static bool parse_lock(const char *text, struct lock_line *ret)
{
	char how[12], type[12], end[24];
	unsigned major, minor;

	if (sscanf(text, "%*u: %7s %11s %11s %d %x:%x:%" SCNu64 " %" SCNu64 " %23s", ret->sort, how,
	           type, &ret->pid, &major, &minor, &ret->ino, &ret->start, end) != 9)
		return false;
	ret->write = !strcmp(type, "WRITE");
	ret->length = strcmp(end, "EOF") ? strtoull(end, NULL, 10) - ret->start + 1 : 0;
	return true;
}

static int refuse(const struct lock_line *line, struct crcore_error *err)
{
	if (!strcmp(line->sort, "POSIX")) {
		crcore_advise(err, "dump when the lock is not held");
		return crcore_fail(err, -ENOTSUP, "process %d holds a POSIX record lock (fcntl F_SETLK) on it, "
		                   "which cannot be saved yet", line->pid);
	}
	crcore_advise(err, "dump when it is not held");
	return crcore_fail(err, -ENOTSUP, "there is a lease on it (%s), which cannot be saved",
	                   line->sort);
}

int files_locks(const struct crcore_object *obj, int (*fn)(void *arg, const Files__Lock *), void *arg,
                struct crcore_error *err)
{
	for (const char *p = obj->fdinfo; (p = strstr(p, "lock:\t")); p++) {
		Files__Lock lock = FILES__LOCK__INIT;
		struct lock_line line;

		if (!parse_lock(p + strlen("lock:\t"), &line))
			continue; /* "->": somebody waits for the lock above */
		lock.flock = !strcmp(line.sort, "FLOCK");
		if (!lock.flock && strcmp(line.sort, "OFDLCK") != 0)
			return refuse(&line, err);
		lock.write = line.write;
		lock.start = line.start;
		lock.length = line.length;
		if (fn && fn(arg, &lock) < 0)
			return crcore_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Finds which descriptor of the task the lock is on, for the message. */
static void name_lock(const struct lock_line *line, struct crcore_error *err)
{
	char dir[40], path[PATH_MAX], link[PATH_MAX];
	struct dirent *e;
	struct stat st;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", line->pid);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		ssize_t n;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (stat(path, &st) < 0 || st.st_ino != line->ino)
			continue;
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0 || link[0] != '/')
			continue;
		link[n] = '\0';
		crcore_fail_at(err, line->pid, atoi(e->d_name), "%s", link);
		break;
	}
	if (d)
		closedir(d);
	crcore_fail_at(err, line->pid, -1, "inode %" PRIu64, line->ino);
}

static bool in_tree(const struct files *f, pid_t pid)
{
	const struct crcore_task *task;

	for (uint32_t i = 0; (task = f->host->task(f->ctx, i)); i++)
		if (task->pid == pid)
			return true;
	return false;
}

int files_observe(void *state, struct crcore_error *err)
{
	struct files *f = state;
	struct lock_line line;
	char *text = NULL;
	size_t len = 0;
	int r = 0;
	FILE *in = fopen("/proc/locks", "re");

	while (!r && in && getline(&text, &len, in) > 0)
		if (parse_lock(text, &line) && !strcmp(line.sort, "POSIX") && in_tree(f, line.pid)) {
			name_lock(&line, err);
			r = refuse(&line, err);
		}
	free(text);
	if (in)
		fclose(in);
	return r;
}

int files_take_locks(int fd, const Files__File *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_locks; i++) {
		const Files__Lock *lock = rec->locks[i];
		struct flock range = { .l_type = lock->write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET,
			.l_start = (off_t)lock->start, .l_len = (off_t)lock->length };
		int r = lock->flock ? flock(fd, (lock->write ? LOCK_EX : LOCK_SH) | LOCK_NB) :
		        fcntl(fd, F_OFD_SETLK, &range);
		if (r < 0) {
			r = -errno;
			crcore_advise(err, "end the process that holds it (see /proc/locks)");
			return crcore_fail(err, r, "its %s lock is held by somebody else: %s",
			                   lock->flock ? "flock" : "open file description", strerror(-r));
		}
	}
	return 0;
}
