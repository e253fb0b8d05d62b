/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: POSIX shared memory and named semaphores. Each file is made anew
 * under a name of crcore's, opened as often as it was, and takes its place only
 * when the tree is complete: what was there until then stays if the restore
 * fails. What has no name loses it as soon as it is open.
 */
#include "ipc.h"
#include "plugins/wills.h"

#include <sys/stat.h>

#define KEYS (1ULL << 32)

static struct memory *find(const struct ipc *s, uint32_t id)
{
	for (unsigned i = 0; i < s->nmemory; i++)
		if (s->memory[i]->rec->id == id)
			return s->memory[i];
	return NULL;
}

/* A name in the folder: what is below others in it could be led elsewhere by links. */
static bool is_valid(const Ipc__Memory *r)
{
	return r && r->id && !strncmp(r->path, MEMORY_FOLDER "/", sizeof(MEMORY_FOLDER)) &&
	       memory_is_name(r->path + sizeof(MEMORY_FOLDER)) && r->size <= INT64_MAX &&
	       r->mode <= 07777 && r->atime_ns < 1000000000 && r->mtime_ns < 1000000000;
}

static int damaged(const char *section, struct crcore_error *err)
{
	return crcore_fail(err, -EBADMSG, "a record of section %s makes no sense", section);
}

int memory_load(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Memory *rec = ipc__memory__unpack(NULL, len, msg);
	struct memory *m = calloc(1, sizeof(*m));
	bool ok = is_valid(rec) && !find(s, rec->id);

	if (!ok || !m || !GROW(s->memory, s->nmemory)) {
		if (rec)
			ipc__memory__free_unpacked(rec, NULL);
		free(m);
		return ok ? crcore_no_memory(err) : damaged("memory", err);
	}
	m->rec = rec;
	m->fd = -1;
	s->memory[s->nmemory++] = m;
	return 0;
}

int memory_load_use(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__MemoryUse *rec = ipc__memory_use__unpack(NULL, len, msg);
	bool ok = rec && rec->object && rec->pos <= INT64_MAX &&
	          !(rec->flags & (O_CREAT | O_EXCL | O_TRUNC | O_PATH | (O_TMPFILE & ~O_DIRECTORY)));

	if (!ok || !GROW(s->uses, s->nuses)) {
		if (rec)
			ipc__memory_use__free_unpacked(rec, NULL);
		return ok ? crcore_no_memory(err) : damaged("memory-use", err);
	}
	s->uses[s->nuses++] = (struct memory_use){ rec, -1 };
	return 0;
}

void memory_free(struct ipc *s)
{
	for (unsigned i = 0; i < s->nmemory; i++) {
		if (s->memory[i]->fd >= 0)
			close(s->memory[i]->fd);
		ipc__memory__free_unpacked(s->memory[i]->rec, NULL);
		free(s->memory[i]);
	}
	for (unsigned i = 0; i < s->nuses; i++) {
		if (s->uses[i].fd >= 0)
			close(s->uses[i].fd);
		ipc__memory_use__free_unpacked(s->uses[i].rec, NULL);
	}
	free(s->memory);
	free(s->uses);
	free(s->memory_saved);
	memory_forget_users(s);
}

/* ---- what is in the way ---- */

static int fail(const struct memory *m, int r, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "%s", m->rec->path);
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

static int check_one(struct ipc *s, const struct memory *m, struct crcore_error *err)
{
	struct stat st;

	if (lstat(m->rec->path, &st) < 0)
		return m->rec->kept ?
		       fail(m, -errno, "it is shared with others, and cannot be found", err) : 0;
	if (m->rec->unlinked || m->rec->kept)
		return 0;
	crcore_fail_at(err, -1, -1, "%s", m->rec->path);
	if (st.st_ino != m->rec->ino || !S_ISREG(st.st_mode) || s->existing == EXISTING_REFUSE) {
		crcore_advise(err, "remove it, if nobody needs it");
		return crcore_fail(err, -EEXIST, "%s file of that name is there",
		                   s->existing == EXISTING_REFUSE ? "a" : "another");
	}
	pid_t by = memory_used_by(s, &st);
	if (!by) {
		*err = (struct crcore_error)CRCORE_ERROR_INIT;
		return 0;
	}
	crcore_advise(err, "end that process");
	return crcore_fail(err, -EBUSY, "process %d uses it", by);
}

int memory_check(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->nuses; i++)
		if (!find(s, s->uses[i].rec->memory))
			r = damaged("memory-use", err);
	for (unsigned i = 0; r == 0 && i < s->nmemory; i++)
		r = check_one(s, s->memory[i], err);
	return r;
}

/* ---- made ---- */

void memory_unmake(struct ipc *s)
{
	for (unsigned i = 0; i < s->nmemory; i++)
		if (s->memory[i]->made[0])
			unlink(s->memory[i]->made);
}

static int open_uses(struct ipc *s, const struct memory *m, const char *path,
                     struct crcore_error *err)
{
	for (unsigned i = 0; i < s->nuses; i++) {
		struct memory_use *u = &s->uses[i];
		if (u->rec->memory != m->rec->id)
			continue;
		u->fd = open(path, (int)u->rec->flags | O_CLOEXEC | O_NOCTTY);
		if (u->fd < 0)
			return fail(m, -errno, "cannot be opened again", err);
		if (u->rec->pos && lseek(u->fd, (off_t)u->rec->pos, SEEK_SET) < 0)
			return fail(m, -errno, "cannot be set to its position", err);
	}
	return 0;
}

/* What has no name shows its old one, if that is free. */
static int make_file(struct ipc *s, struct memory *m, struct crcore_error *err)
{
	const char *path = m->rec->path, *slash = strrchr(path, '/');
	char name[PATH_MAX];
	struct stat st;
	int r;

	snprintf(name, sizeof(name), "%.*s/.crcore-%d-%u", (int)(slash - path), path, getpid(),
	         m->rec->id);
	if ((r = will_remove(s->host, s->ctx, name, err)) < 0)
		return r;
	m->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (m->fd < 0)
		return fail(m, -errno, "cannot be made", err);
	snprintf(m->made, sizeof(m->made), "%s", name);
	if (fstat(m->fd, &st) < 0)
		return fail(m, -errno, "cannot be looked at", err);
	if ((r = will_remove_inode(s->host, s->ctx, path, st.st_dev, st.st_ino, err)) < 0)
		return r;
	if (m->rec->unlinked && renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		snprintf(m->made, sizeof(m->made), "%s", path);
	return 0;
}

static int make_one(struct ipc *s, struct memory *m, struct crcore_error *err)
{
	const Ipc__Memory *rec = m->rec;

	if (rec->kept)
		return open_uses(s, m, rec->path, err);
	int r = make_file(s, m, err);
	if (r < 0)
		return r;
	if (ftruncate(m->fd, (off_t)rec->size) < 0)
		return fail(m, -errno, "cannot be given its size", err);
	r = rec->size ? s->host->load_contents(s->ctx, KEYS + rec->id, m->fd, err) : 0;
	if (r < 0)
		crcore_fail_at(err, -1, -1, "%s", rec->path);
	if (r == 0 && (r = open_uses(s, m, m->made, err)) == 0 && rec->unlinked) {
		unlink(m->made);
		m->made[0] = '\0';
	}
	/* Last: as long as it is root's, nobody can put another under its name. */
	if (r == 0 && (fchown(m->fd, rec->uid, rec->gid) < 0 || fchmod(m->fd, rec->mode) < 0))
		return fail(m, -errno, "cannot be given its owner and mode", err);
	return r;
}

int memory_make(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->nmemory; i++)
		r = make_one(s, s->memory[i], err);
	return r;
}

int memory_create(struct ipc *s, uint32_t object)
{
	for (unsigned i = 0; i < s->nuses; i++)
		if (s->uses[i].rec->object == object && s->uses[i].fd >= 0) {
			int fd = s->uses[i].fd;
			s->uses[i].fd = -1;
			return fd;
		}
	return -ENOENT;
}

bool memory_has(const struct ipc *s, uint32_t object)
{
	for (unsigned i = 0; i < s->nuses; i++)
		if (s->uses[i].rec->object == object)
			return true;
	return false;
}

/* The tree is complete. */
int memory_settle(struct ipc *s, struct crcore_error *err)
{
	for (unsigned i = 0; i < s->nmemory; i++) {
		struct memory *m = s->memory[i];
		const struct timespec times[2] = { { m->rec->atime_s, m->rec->atime_ns },
			                           { m->rec->mtime_s, m->rec->mtime_ns } };
		if (m->fd >= 0)
			futimens(m->fd, times);
		if (m->made[0] && rename(m->made, m->rec->path) < 0)
			return fail(m, -errno, "cannot be put in its place", err);
		if (m->made[0])
			snprintf(m->made, sizeof(m->made), "%s", m->rec->path);
	}
	return 0;
}
