/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By which path an object can be found again. The link of /proc gives the path
 * as seen from crcore's own root, so a chroot of the task does not matter; but
 * the link may be stale, and the only proof of a path is that it leads to the
 * same device and inode. Everything here only looks.
 *
 * Break with care: " (deleted)" may also be the end of a real file name, so the
 * link is tried as it stands before it is believed to say that.
 */
#include "files.h"

#include <dirent.h>
#include <linux/magic.h>
#include <poll.h>
#include <search.h>
#include <sys/sysmacros.h>
#include "plugins/tasks.h"

#define DELETED " (deleted)"

/* -- mounts ------------------------------------------------------------------ */

static int compare_unsigned(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

static int read_mounts(struct files *f, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	unsigned reads;
	int r = 0;

	if (f->mountinfo < 0)
		f->mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (f->mountinfo < 0 || lseek(f->mountinfo, 0, SEEK_SET) < 0 ||
	    (r = read_opened(f->mountinfo, &text, &reads)) < 0) {
		r = r ? r : -errno;
		return crcore_fail(err, r, "cannot read /proc/self/mountinfo: %s", strerror(-r));
	}
	f->nmounts = 0;
	for (const char *p = text; *p; p = strchrnul(p, '\n'), p += *p == '\n') {
		if (!GROW(f->mounts, f->nmounts))
			return crcore_no_memory(err);
		f->mounts[f->nmounts++] = (unsigned)strtoul(p, NULL, 10);
	}
	if (f->nmounts)
		qsort(f->mounts, f->nmounts, sizeof(*f->mounts), compare_unsigned);
	return 0;
}

/* Has anything been mounted since the list was read, or this was asked? */
static bool mounts_changed(const struct files *f)
{
	struct pollfd p = { .fd = f->mountinfo, .events = POLLPRI };

	return poll(&p, 1, 0) != 0;
}

/* 1: crcore sees the mount, 0: it does not, negative errno. */
static int sees_mount(struct files *f, unsigned id, struct crcore_error *err)
{
	int r;

	if (f->mounts && bsearch(&id, f->mounts, f->nmounts, sizeof(id), compare_unsigned))
		return 1;
	/* It may be new, or one of the kernel's own, as that of a memfd, which no list has. */
	if (f->mounts && !mounts_changed(f))
		return 0;
	r = read_mounts(f, err);
	if (r < 0)
		return r;
	return f->mounts && bsearch(&id, f->mounts, f->nmounts, sizeof(id), compare_unsigned);
}

/* -- file systems ------------------------------------------------------------- */

static uint64_t fs_magic(struct files *f, const struct crcore_object *obj, dev_t dev)
{
	struct statfs fs;
	unsigned slot;

	for (unsigned i = 0; i < f->nfs; i++)
		if (f->fs[i].dev == dev)
			return f->fs[i].magic;
	if (fstatfs(obj->local_fd, &fs) < 0)
		return 0;
	slot = f->nfs < sizeof(f->fs) / sizeof(f->fs[0]) ? f->nfs++ : (unsigned)dev % f->nfs;
	f->fs[slot].dev = dev;
	f->fs[slot].magic = (uint32_t)fs.f_type;
	return f->fs[slot].magic;
}

/* Their files have no size, time or inode that would mean anything. */
static bool is_pseudo(uint64_t magic)
{
	static const uint64_t known[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, 0xde5e81e4 /* efivarfs */,
		0x62656570 /* configfs */,
	};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == magic)
			return true;
	return false;
}

/* -- /proc ---------------------------------------------------------------------- */

/* The pid that a path below a procfs belongs to, 0: to none. */
static pid_t proc_owner(const char *path)
{
	for (const char *p = path; (p = strchr(p, '/')); p++) {
		char *end;
		long pid = strtol(p + 1, &end, 10);
		if (end > p + 1 && (*end == '/' || !*end) && pid > 0)
			return (pid_t)pid;
	}
	return 0;
}

bool files_in_tree(const struct files *f, pid_t pid)
{
	return task_of_thread(f->host, f->ctx, pid) != NULL;
}

static int locate_proc(struct files *f, const struct crcore_object *obj, struct location *ret,
                       struct crcore_error *err)
{
	pid_t owner = proc_owner(ret->path);

	if (!owner) {
		ret->how = FOUND_PATH;
		return 0;
	}
	if (!files_in_tree(f, owner)) {
		crcore_advise(err, "dump a tree that contains process %d, or close this file first",
		              (int)owner);
		return crcore_fail(err, -ENOTSUP, "it belongs to process %d, which is not in the tree",
		                   (int)owner);
	}
	if (obj->class_ != CRCORE_DESCRIPTION) {
		crcore_advise(err, "let the program unmap it, or leave the directory");
		return crcore_fail(err, -ENOTSUP, "a file of process %d that is mapped or a current "
		                   "directory cannot be restored", (int)owner);
	}
	ret->how = FOUND_OWN;
	return 0;
}

/* -- files whose name is gone --------------------------------------------------- */

uint64_t files_ghost_bytes(const struct stat *st)
{
	uint64_t blocks = (uint64_t)st->st_blocks * 512, size = (uint64_t)st->st_size;

	if (S_ISDIR(st->st_mode))
		return 0;
	return blocks < size ? blocks : size;
}

/* The nearest directory above ret->path that exists on the mount of the object. */
static int find_base(const struct crcore_object *obj, struct location *ret,
                     struct crcore_error *err)
{
	unsigned mount = files_mount_id(obj->local_fd, "", AT_EMPTY_PATH);
	struct stat st;

	strcpy(ret->base, ret->path);
	do {
		files_parent(ret->base);
		if (stat(ret->base, &st) == 0 && S_ISDIR(st.st_mode) &&
		    files_mount_id(AT_FDCWD, ret->base, 0) == mount)
			return 0;
	} while (strcmp(ret->base, "/") != 0);
	crcore_advise(err, "close it, or dump with crcore in the same mount namespace");
	return crcore_fail(err, -ENOTSUP, "the file is deleted and crcore does not see its mount");
}

static int locate_ghost(struct files *f, const struct crcore_object *obj, struct location *ret,
                        struct crcore_error *err)
{
	uint64_t magic = fs_magic(f, obj, ret->st.st_dev), bytes = files_ghost_bytes(&ret->st);

	ret->how = FOUND_GHOST;
	if (!S_ISREG(ret->st.st_mode) && !S_ISDIR(ret->st.st_mode)) {
		crcore_advise(err, "close it before the dump");
		return crcore_fail(err, -ENOTSUP, "a deleted file that is neither regular nor a directory "
		                   "cannot be restored");
	}
	if (magic == HUGETLBFS_MAGIC && !ret->memfd) {
		crcore_advise(err, "use memfd_create(2) for it");
		return crcore_fail(err, -ENOTSUP, "a deleted file of huge pages cannot be saved");
	}
	if (ret->st.st_size < 0 || bytes > f->ghost_limit) {
		crcore_advise(err, "raise the option ghost-limit of the plugin files (--ghost-limit)");
		return crcore_fail(err, -EFBIG, "the file has no name and its contents (%llu bytes) are "
		                   "over ghost-limit (%llu)", (unsigned long long)bytes,
		                   (unsigned long long)f->ghost_limit);
	}
	if (ret->memfd) {
		memmove(ret->path, ret->path + strlen("/memfd:"),
		        strlen(ret->path + strlen("/memfd:")) + 1);
		return 0;
	}
	return find_base(obj, ret, err);
}

/* Another name of the same file in the directory where it was. */
static bool find_sibling(struct location *ret)
{
	char dir[PATH_MAX], path[PATH_MAX];
	bool found = false;
	struct dirent *e;
	struct stat st;
	DIR *d;

	strcpy(dir, ret->path);
	files_parent(dir);
	d = opendir(dir);
	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		if (e->d_ino != ret->st.st_ino || e->d_type == DT_DIR)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", strcmp(dir, "/") ? dir : "", e->d_name) >=
		    (int)sizeof(path))
			continue;
		found = lstat(path, &st) == 0 && st.st_dev == ret->st.st_dev &&
		        st.st_ino == ret->st.st_ino;
	}
	closedir(d);
	if (found)
		strcpy(ret->path, path);
	return found;
}

static int locate_unnamed(struct files *f, const struct crcore_object *obj, struct location *ret,
                          struct crcore_error *err)
{
	if (!strncmp(ret->path, "/SYSV", 5) && ret->memfd) {
		crcore_advise(err, "load the plugin ipc (--plugins=+ipc); a descriptor of it cannot be "
		              "kept");
		return crcore_fail(err, -ENOTSUP, "System V shared memory is the business of the plugin "
		                   "ipc");
	}
	if (ret->memfd && strncmp(ret->path, "/memfd:", 7) != 0)
		return crcore_fail(err, -ENOTSUP, "a file of a mount internal to the kernel cannot be "
		                   "saved");
	if (ret->st.st_nlink == 0 || S_ISDIR(ret->st.st_mode))
		return locate_ghost(f, obj, ret, err);
	if (find_sibling(ret)) {
		ret->how = FOUND_PATH;
		return 0;
	}
	ret->how = FOUND_REMAP;
	if (!f->link_remap) {
		crcore_advise(err, "set link-remap (--link-remap) to give it a hidden name next to the old "
		              "one, or close it");
		return crcore_fail(err, -ENOTSUP, "this name is deleted but the file has other names that "
		                   "are not known");
	}
	return find_base(obj, ret, err);
}

/* -- all ----------------------------------------------------------------------- */

/* Does the path lead there? By which mount, 0: the kernel does not say. */
static bool same(const char *path, const struct stat *st, unsigned *ret_mount)
{
	struct statx there;

	*ret_mount = 0;
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_INO | STATX_MNT_ID,
	          &there) < 0 || there.stx_ino != st->st_ino ||
	    makedev(there.stx_dev_major, there.stx_dev_minor) != st->st_dev)
		return false;
	if (there.stx_mask & STATX_MNT_ID)
		*ret_mount = (unsigned)there.stx_mnt_id;
	return true;
}

static bool is_nfs_leftover(uint64_t magic, const char *path)
{
	const char *slash = strrchr(path, '/');

	return magic == NFS_SUPER_MAGIC && slash && !strncmp(slash + 1, ".nfs", 4);
}

/* A file of a process that has ended: nothing is there any more. */
static bool is_dead(const struct crcore_object *obj, uint64_t magic)
{
	int pid;

	return magic == PROC_SUPER_MAGIC && obj->class_ == CRCORE_DESCRIPTION &&
	       sscanf(obj->link, "/proc/%d", &pid) == 1 && access(obj->link, F_OK) < 0 &&
	       errno == ENOENT;
}

static int locate(struct files *f, const struct crcore_object *obj, struct location *ret,
                  struct crcore_error *err)
{
	size_t len = strlen(obj->link);
	unsigned mount = obj->mnt_id, by;
	uint64_t magic;
	bool leads;
	int seen;

	if (obj->link[0] != '/') {
		crcore_advise(err, "run crcore in the mount namespace of the task");
		return crcore_fail(err, -ENOTSUP, "its path cannot be reached from crcore's root "
		                   "directory");
	}
	if (len >= sizeof(ret->path))
		return crcore_fail(err, -ENAMETOOLONG, "its path is longer than %d bytes", PATH_MAX);
	memset(ret, 0, offsetof(struct location, path));
	strcpy(ret->path, obj->link);
	if (fstat(obj->local_fd, &ret->st) < 0)
		return crcore_fail(err, -errno, "cannot stat it: %s", strerror(errno));
	magic = fs_magic(f, obj, ret->st.st_dev);
	ret->pseudo = is_pseudo(magic);
	if (!mount)
		mount = files_mount_id(obj->local_fd, "", AT_EMPTY_PATH);
	leads = same(ret->path, &ret->st, &by);
	seen = by && by == mount ? 1 : sees_mount(f, mount, err);
	if (seen < 0)
		return seen;
	if (seen && leads) {
		if (is_nfs_leftover(magic, ret->path))
			return locate_ghost(f, obj, ret, err);
		if (magic == PROC_SUPER_MAGIC)
			return locate_proc(f, obj, ret, err);
		ret->how = FOUND_PATH;
		return 0;
	}
	if (seen && is_dead(obj, magic)) {
		ret->how = FOUND_DEAD;
		return 0;
	}
	if (len > strlen(DELETED) && !strcmp(obj->link + len - strlen(DELETED), DELETED)) {
		ret->path[len - strlen(DELETED)] = '\0';
		ret->memfd = !seen && (magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC); /* the kernel's */
		if (magic == HUGETLBFS_MAGIC)
			ret->huge_shift = (uint32_t)__builtin_ctzl((unsigned long)ret->st.st_blksize);
		if (magic == PROC_SUPER_MAGIC) {
			crcore_advise(err, "close it before the dump");
			return crcore_fail(err, -ENOTSUP, "the process that this file told about is gone");
		}
		if (seen || ret->memfd)
			return locate_unnamed(f, obj, ret, err);
	}
	if (magic == SECRETMEM_MAGIC) {
		crcore_advise(err, "dump when it is not mapped");
		return crcore_fail(err, -ENOTSUP, "secret memory (memfd_secret(2)) is for nobody else to "
		                   "read");
	}
	if (!seen) {
		crcore_advise(err, "run crcore in the mount namespace of the task (nsenter -m)");
		return crcore_fail(err, -ENOTSUP, "it is on a mount that crcore does not see");
	}
	crcore_advise(err, "close it, or unmount what covers it");
	return crcore_fail(err, -ENOTSUP, "its path now leads elsewhere (a mount covers it, or it was "
	                   "moved while looking)");
}

int files_locate(struct files *f, const struct crcore_object *obj, struct location *ret,
                 struct crcore_error *err)
{
	int r = locate(f, obj, ret, err);

	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

void files_forget(struct files *f)
{
	if (f->mountinfo >= 0)
		close(f->mountinfo);
	free(f->mounts);
	tdestroy(f->saved, free);
	for (unsigned i = 0; i < f->nremaps; i++)
		free(f->remaps[i]);
	free(f->remaps);
}
