/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: which files tasks of the tree hold: open, mapped, as executable. Other
 * plugins save what there is to say about those, and at the restore they must be
 * there before this plugin has its turn. What crcore itself has open (its log,
 * its image) is no file of the program either.
 */
#include "tmpfiles.h"

#include <search.h>

static int hold(struct taking *k, int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0 || S_ISDIR(st.st_mode))
		return 0; /* gone meanwhile, or no link at all */
	struct inode *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	void *node = tsearch(n, &k->held, inode_compare);
	if (!node || *(struct inode **)node != n)
		free(n);
	return node ? 0 : -ENOMEM;
}

static int hold_all(struct taking *k, pid_t pid, const char *folder)
{
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, folder);
	cleanup_dir DIR *d = opendir(path);
	for (struct dirent *e; d && r == 0 && (e = readdir(d));)
		if (e->d_name[0] != '.')
			r = hold(k, dirfd(d), e->d_name);
	return r;
}

int held_find(struct taking *k)
{
	const struct crcore_task *task;
	int r = hold_all(k, getpid(), "fd");

	for (uint32_t i = 0; r == 0 && (task = k->t->host->task(k->t->ctx, i)); i++) {
		r = hold_all(k, task->pid, "fd");
		if (r == 0)
			r = hold_all(k, task->pid, "map_files");
	}
	return r < 0 ? crcore_fail(k->err, r, "out of memory") : 0;
}
