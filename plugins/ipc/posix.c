/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: POSIX shared memory and named semaphores, which are files below
 * /dev/shm. What is in them is memory: it is saved, whether a name is left or
 * not, since the file may have gone on changing, or be gone, when the tree is
 * restored. Whoever else uses such a file is found by its descriptors and
 * mappings; locked ones are left to whoever keeps locks.
 */
#include "ipc.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define KEYS (1ULL << 32) /* of contents: System V ids are below */

struct memory_saved { dev_t dev; ino_t ino; };

static bool is_locked(const struct stat *st)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/locks", "re");

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned major, minor;
		unsigned long long ino;
		found = sscanf(line, "%*[^:]: %*s %*s %*s %*d %x:%x:%llu", &major, &minor, &ino) == 3 &&
		        ino == st->st_ino && makedev(major, minor) == st->st_dev;
	}
	if (f)
		fclose(f);
	return found;
}

bool memory_is(const struct ipc *s, const struct crcore_object *obj)
{
	struct stat folder;
	struct statfs fs;

	if (s->posix_leave || strncmp(obj->link, MEMORY_FOLDER "/", sizeof(MEMORY_FOLDER)) != 0 ||
	    !memory_is_name(obj->link + sizeof(MEMORY_FOLDER)) || !S_ISREG(obj->st.st_mode) ||
	    obj->flags & (O_PATH | O_ASYNC) || obj->st.st_nlink > 1 ||
	    (obj->class_ == CRCORE_FILE && obj->use != CRCORE_USE_MAPPING))
		return false;
	return stat(MEMORY_FOLDER, &folder) == 0 && folder.st_dev == obj->st.st_dev &&
	       obj->local_fd >= 0 && fstatfs(obj->local_fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	       !is_locked(&obj->st);
}

/* ---- who else? ---- */

struct user { ino_t ino; pid_t pid; };

static bool add_user(struct ipc *s, ino_t ino, pid_t pid)
{
	if (!GROW(s->users, s->nusers))
		return false;
	s->users[s->nusers++] = (struct user){ ino, pid };
	return true;
}

static bool add_mapped(struct ipc *s, pid_t pid, dev_t dev)
{
	char path[40], line[512];
	bool ok = true;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *f = fopen(path, "re");
	while (f && ok && fgets(line, sizeof(line), f)) {
		unsigned major, minor;
		unsigned long long ino = 0;
		if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major, &minor, &ino) == 3 &&
		    makedev(major, minor) == dev)
			ok = add_user(s, (ino_t)ino, pid);
	}
	if (f)
		fclose(f);
	return ok;
}

static bool add_open(struct ipc *s, pid_t pid, dev_t dev)
{
	char path[40];
	struct stat st;
	struct dirent *e;
	bool ok = true;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *d = opendir(path);
	while (d && ok && (e = readdir(d)))
		if (fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_dev == dev && S_ISREG(st.st_mode))
			ok = add_user(s, st.st_ino, pid);
	if (d)
		closedir(d);
	return ok;
}

/* All files of the folder that processes outside the tree use, in whatever namespace. */
static bool find_users(struct ipc *s, dev_t dev)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	bool ok = d && add_user(s, 0, 0); /* so that it is known to be done */

	while (ok && (e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);
		if (pid > 0 && pid != getpid() && !ipc_task(s, pid))
			ok = add_open(s, pid, dev) && add_mapped(s, pid, dev);
	}
	if (d)
		closedir(d);
	return ok;
}

void memory_forget_users(struct ipc *s)
{
	free(s->users);
	s->users = NULL;
	s->nusers = 0;
}

pid_t memory_used_by(struct ipc *s, const struct stat *st)
{
	if (!s->users && !find_users(s, st->st_dev))
		return -1;
	for (unsigned i = 0; i < s->nusers; i++)
		if (s->users[i].ino == st->st_ino)
			return s->users[i].pid;
	return 0;
}

/* Asked for the first object of each file. */
int memory_review(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	const struct crcore_object *o;

	for (uint32_t i = 0; (o = s->host->object(s->ctx, i)) && o != obj; i++)
		if (o->st.st_ino == obj->st.st_ino && o->st.st_dev == obj->st.st_dev)
			return 0;
	pid_t by = s->shared == SHARED_KEEP ? 0 : memory_used_by(s, &obj->st);
	if (!by)
		return 0;
	crcore_advise(err, "dump a tree that contains process %d, or set shared: keep for ipc in the "
	              "policy: the file is then used as it is when the tree is restored", by);
	return crcore_fail(err, -EBUSY, "process %d, which is not in the tree, uses it too", by);
}

/* ---- records ---- */

static void fill_record(Ipc__Memory *rec, const struct stat *st)
{
	rec->size = (uint64_t)st->st_size;
	rec->mode = st->st_mode & 07777;
	rec->uid = st->st_uid;
	rec->gid = st->st_gid;
	rec->ino = st->st_ino;
	rec->atime_s = st->st_atim.tv_sec;
	rec->atime_ns = (uint32_t)st->st_atim.tv_nsec;
	rec->mtime_s = st->st_mtim.tv_sec;
	rec->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

/* The name that a file has in the folder; false: none. The kernel shows the one by which it
 * was opened: sem_open(3) makes a file under one name and gives it another. */
static bool find_name(const struct stat *st, char path[PATH_MAX])
{
	struct dirent *e;
	struct stat now;
	bool found = lstat(path, &now) == 0 && now.st_ino == st->st_ino && now.st_dev == st->st_dev;
	cleanup_dir DIR *d = found ? NULL : opendir(MEMORY_FOLDER);

	while (!found && d && (e = readdir(d)))
		if (e->d_ino == st->st_ino &&
		    fstatat(dirfd(d), e->d_name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
		    now.st_ino == st->st_ino && now.st_dev == st->st_dev) {
			snprintf(path, PATH_MAX, MEMORY_FOLDER "/%s", e->d_name);
			found = true;
		}
	return found;
}

static int save_file(struct ipc *s, const struct crcore_object *obj, uint32_t *ret_id,
                     struct crcore_error *err)
{
	static const char deleted[] = " (deleted)";
	Ipc__Memory rec = IPC__MEMORY__INIT;
	char proc[40], path[PATH_MAX];
	struct stat st;

	for (unsigned i = 0; i < s->nmemory_saved; i++)
		if (s->memory_saved[i].ino == obj->st.st_ino && s->memory_saved[i].dev == obj->st.st_dev) {
			*ret_id = i + 1;
			return 0;
		}
	if (!GROW(s->memory_saved, s->nmemory_saved))
		return crcore_no_memory(err);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", obj->local_fd);
	cleanup_close int fd = open(proc, O_RDONLY | O_NOATIME | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return crcore_fail(err, -errno, "cannot open it again: %s", strerror(errno));
	s->memory_saved[s->nmemory_saved++] = (struct memory_saved){ st.st_dev, st.st_ino };
	*ret_id = rec.id = s->nmemory_saved;
	snprintf(path, sizeof(path), "%s", obj->link);
	size_t len = strlen(path), cut = sizeof(deleted) - 1;
	rec.unlinked = st.st_nlink == 0;
	if (rec.unlinked && len > cut && !strcmp(path + len - cut, deleted))
		path[len - cut] = '\0';
	if (!rec.unlinked && !find_name(&st, path))
		return crcore_fail(err, -ENOENT, "its name is not in " MEMORY_FOLDER);
	rec.path = path;
	fill_record(&rec, &st);
	rec.kept = !rec.unlinked && s->shared == SHARED_KEEP && memory_used_by(s, &st);
	int r = record_put(s->host, s->ctx, "memory", &rec.base, err);
	return r < 0 || rec.kept ? r : s->host->save_contents(s->ctx, KEYS + rec.id, fd, err);
}

int memory_save_object(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	Ipc__MemoryUse rec = IPC__MEMORY_USE__INIT;
	int r = save_file(s, obj, &rec.memory, err);

	rec.object = obj->id;
	rec.flags = obj->flags &
	            ~(uint32_t)(O_CLOEXEC | O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_TMPFILE);
	rec.pos = obj->class_ == CRCORE_DESCRIPTION && obj->pos > 0 ? (uint64_t)obj->pos : 0;
	return r < 0 ? r : record_put(s->host, s->ctx, "memory-use", &rec.base, err);
}
