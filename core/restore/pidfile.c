/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that tells the pid of the root (--pidfile). Its folder is opened by main before
 * anybody joins namespaces. The worker writes it when all but the last steps of the restore are
 * done; if one of these fails it is removed: by an undo entry of the worker's, or by main, should
 * the worker have been killed.
 */
#include <fcntl.h>
#include "core/restore/restore.h"

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int fail(const char *path, int code, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "%s", path);
	if (code == -ENOENT || code == -ENOTDIR || code == -EISDIR)
		crcore_advise(err, "name a file in a folder that is there (--pidfile)");
	else if (code != -EMFILE && code != -ENFILE)
		crcore_advise(err, "name another file, where one can be written (--pidfile)");
	return crcore_fail(err, code, "cannot write the pid file: %s", strerror(-code));
}

int pidfile_open(struct pidfile *f, const char *path, struct crcore_error *err)
{
	*f = (struct pidfile){ .path = path, .dir = -1 };
	if (!path)
		return 0;
	cleanup_free char *dir = strdup(path);
	if (!dir)
		return crcore_no_memory(err);
	char *slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	f->dir = open(slash ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return f->dir < 0 ? fail(path, -errno, err) : 0;
}

void pidfile_remove(void *arg)
{
	struct pidfile *f = arg;

	if (f->written)
		unlinkat(f->dir, name_of(f->path), 0);
	f->written = false;
}

int pidfile_write(struct restore *r, struct crcore_error *err)
{
	struct pidfile *f = r->pidfile;
	int ret = f->path ? host_undo_push(r->host, NULL, pidfile_remove, f, false, err) : 0;

	if (ret < 0 || !f->path)
		return ret;
	cleanup_close int fd = openat(f->dir, name_of(f->path),
	                              O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	f->written = fd >= 0;
	return fd < 0 || dprintf(fd, "%u\n", r->rec.tasks[0]->pid) < 0 ? fail(f->path, -errno, err) : 0;
}

void pidfile_close(struct pidfile *f)
{
	if (f->dir >= 0)
		close(f->dir);
}
