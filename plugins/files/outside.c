/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: locks that belong to a description which somebody outside the tree has
 * too. After a restore there would be two descriptions, and one lock too many.
 */
#include "files.h"

#include <ctype.h>
#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>

static int add(struct files *f, pid_t pid, int fd, const struct stat *st)
{
	struct outside_fd *more;

	if (!(f->noutside & (f->noutside + 1))) { /* 0, 1, 3, 7 ...: full */
		more = realloc(f->outside, (2 * f->noutside + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->outside = more;
	}
	f->outside[f->noutside++] = (struct outside_fd){ pid, fd, st->st_dev, st->st_ino };
	return 0;
}

static int read_process(struct files *f, pid_t pid)
{
	char path[40];
	struct dirent *e;
	struct stat st;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && r == 0 && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
		    S_ISREG(st.st_mode))
			r = add(f, pid, atoi(e->d_name), &st);
	if (d)
		closedir(d);
	return r;
}

static int read_outside(struct files *f, struct crcore_error *err)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int r = 0;

	f->looked_outside = true;
	f->noutside = 0;
	while (d && r == 0 && (e = readdir(d))) {
		pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;
		if (pid && pid != getpid() && !files_in_tree(f, pid))
			r = read_process(f, pid);
	}
	if (d)
		closedir(d);
	return r < 0 ? crcore_fail(err, r, "out of memory") : 0;
}

int files_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct files *f = state;
	int r = 0;

	if (obj == f->host->object(f->ctx, 0)) /* another look at the tree */
		f->looked_outside = false;
	if (obj->class_ != CRCORE_DESCRIPTION ||
	    (!strstr(obj->fdinfo, "FLOCK") && !strstr(obj->fdinfo, "OFDLCK")))
		return 0;
	if (!f->looked_outside)
		r = read_outside(f, err);
	for (unsigned i = 0; r == 0 && i < f->noutside; i++) {
		const struct outside_fd *o = &f->outside[i];
		if (o->dev != obj->st.st_dev || o->ino != obj->st.st_ino ||
		    syscall(SYS_kcmp, obj->pid, o->pid, KCMP_FILE, (long)obj->fd, (long)o->fd) != 0)
			continue;
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
		crcore_advise(err, "dump a tree that holds process %d too, or when the lock is not held",
		              o->pid);
		return crcore_fail(err, -ENOTSUP, "its lock is held together with process %d, outside of "
		                   "the tree", o->pid);
	}
	return r;
}
