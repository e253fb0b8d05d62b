/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on files that belong to a description: flock(2) and open file
 * description locks. Whoever makes the description anew can take them. For POSIX
 * locks and leases, which tasks take, see posix.c.
 */
#include "files.h"

#include <inttypes.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include "plugins/args.h"

bool files_parse_lock(const char *text, struct lock_line *ret)
{
	char line[256], how[12], type[12], end[24];
	unsigned major, minor;

	/* sscanf(3) looks for the end of what it is given, and there may be 100,000 lines. */
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
	if (sscanf(line, "%*u: %7s %11s %11s %d %x:%x:%" SCNu64 " %" SCNu64 " %23s", ret->sort, how,
	           type, &ret->pid, &major, &minor, &ret->ino, &ret->start, end) != 9)
		return false;
	ret->dev = makedev(major, minor);
	ret->write = !strcmp(type, "WRITE");
	ret->read = !strcmp(type, "READ");
	ret->breaking = !strcmp(how, "BREAKING");
	ret->length = strcmp(end, "EOF") ? strtoull(end, NULL, 10) - ret->start + 1 : 0;
	return true;
}

static int check_lease(const struct files *f, const struct lock_line *line,
                       struct crcore_error *err)
{
	if (files_in_tree(f, line->pid))
		return 0;
	crcore_advise(err, "dump when the lease is not held");
	return crcore_fail(err, -ENOTSUP, "there is a lease on it that process %d took, which is not "
	                   "in the tree", line->pid);
}

int files_locks(const struct files *f, const struct crcore_object *obj,
                int (*fn)(void *arg, const Files__Lock *), void *arg, struct crcore_error *err)
{
	for (const char *p = obj->fdinfo; (p = strstr(p, "lock:\t")); p++) {
		Files__Lock lock = FILES__LOCK__INIT;
		struct lock_line line;

		if (!files_parse_lock(p + strlen("lock:\t"), &line))
			continue; /* "->": somebody waits for the lock above */
		if (!strcmp(line.sort, "LEASE") && check_lease(f, &line, err) < 0)
			return err->code;
		if (!strcmp(line.sort, "POSIX") || !strcmp(line.sort, "LEASE"))
			continue;
		lock.flock = !strcmp(line.sort, "FLOCK");
		if (!lock.flock && strcmp(line.sort, "OFDLCK") != 0) {
			crcore_advise(err, "dump when it is not held");
			return crcore_fail(err, -ENOTSUP, "there is a lock of an unknown sort on it (%s)",
			                   line.sort);
		}
		lock.write = line.write;
		lock.start = line.start;
		lock.length = line.length;
		if (fn && fn(arg, &lock) < 0)
			return crcore_no_memory(err);
	}
	return 0;
}

/* -- restore --------------------------------------------------------------------- */

int files_lock_taken(const struct lock_line *line, const char *path, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "%s", path);
	crcore_advise(err, "end the process that holds it (lslocks)");
	if (line->pid <= 0)
		return crcore_fail(err, -EWOULDBLOCK, "somebody holds a lock on it that the tree had");
	return crcore_fail(err, -EWOULDBLOCK, "process %d holds a lock on it that the tree had",
	                   line->pid);
}

bool files_overlap(const struct lock_line *line, uint64_t start, uint64_t length)
{
	uint64_t end = length ? start + length : UINT64_MAX;
	uint64_t their_end = line->length ? line->start + line->length : UINT64_MAX;

	return line->start < end && start < their_end;
}

/* Would what the line says keep us from a lock of rec? */
static bool conflicts(const struct lock_line *line, const Files__File *rec, const Files__Lock *lock)
{
	bool theirs = !strcmp(line->sort, "FLOCK");

	if (line->ino != rec->ino || theirs != lock->flock || (!line->write && !lock->write))
		return false;
	return theirs || files_overlap(line, lock->start, lock->length);
}

/* Where a file system has subvolumes only a mount shows its device. Nobody knows: yes. */
bool files_is_on(const char *path, uint64_t dev)
{
	unsigned want = files_mount_id(AT_FDCWD, path, 0), id = 0, major = 0, minor = 0;
	char *text = NULL;
	size_t len = 0;
	struct stat st;

	if (!want || stat(path, &st) < 0 || st.st_dev == dev)
		return true;
	FILE *in = fopen("/proc/self/mountinfo", "re");
	while (in && id != want && getline(&text, &len, in) > 0)
		if (sscanf(text, "%u %*u %u:%u", &id, &major, &minor) != 3)
			id = 0;
	free(text);
	if (in)
		fclose(in);
	return id != want || makedev(major, minor) == dev;
}

static int check_line(const struct files *f, const struct lock_line *line, struct crcore_error *err)
{
	for (unsigned i = 0; i < f->nacting; i++) {
		const Files__File *rec = f->acting[i];
		for (size_t k = 0; k < rec->n_locks; k++)
			if (rec->kind != FILES__KIND__GHOST && conflicts(line, rec, rec->locks[k]) &&
			    files_is_on(rec->path, line->dev))
				return files_lock_taken(line, rec->path, err);
	}
	return posix_check(f, line, err);
}

int files_check_locks(const struct files *f, struct crcore_error *err)
{
	bool any = f->nposix > 0 || f->nacting > 0;
	struct lock_line line;
	char *text = NULL;
	size_t len = 0;
	int r = 0;
	FILE *in;

	in = any ? fopen("/proc/locks", "re") : NULL;
	while (!r && in && getline(&text, &len, in) > 0)
		if (files_parse_lock(text, &line))
			r = check_line(f, &line, err);
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
		if (!lock->flock && fcntl(fd, F_OFD_SETLK, &range) < 0) {
			int r = -errno;
			crcore_advise(err, "end the process that holds it (lslocks)");
			return crcore_fail(err, r, "its lock is held by somebody else: %s", strerror(-r));
		}
	}
	return 0;
}

void files_emit_locks(const struct files *f, const Files__File *rec, struct crcore_program *p)
{
	for (size_t i = 0; i < rec->n_locks; i++)
		if (rec->locks[i]->flock)
			f->host->call(p, "files: flock", SYS_flock, ARGS(IMM(rec->fd),
			              IMM((rec->locks[i]->write ? LOCK_EX : LOCK_SH) | LOCK_NB)),
			              CRCORE_EQUAL, 0);
}
