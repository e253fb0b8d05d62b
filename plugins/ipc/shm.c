/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: shared memory segments. A mapping of one is a mapping of a file in a
 * file system internal to the kernel, named "/SYSV" and the key, whose inode
 * number is the segment's id. So its contents can be read through the mapping;
 * a segment that the tree has not attached is attached for that, which the
 * kernel notes (its times, and who attached it last).
 */
#include "ipc.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

void perm_fill(Ipc__Perm *p, const struct entry *e, bool kept)
{
	p->id = (uint32_t)e->id;
	p->key = e->key;
	p->uid = e->uid;
	p->gid = e->gid;
	p->cuid = e->cuid;
	p->cgid = e->cgid;
	p->mode = e->mode & 0777;
	p->kept = kept;
}

bool shm_is_attached(const struct ipc *s, int id)
{
	const struct crcore_object *o;

	for (uint32_t i = 0; (o = s->host->object(s->ctx, i)); i++)
		if (o->class_ == CRCORE_FILE && o->st.st_ino == (ino_t)id)
			return true;
	return false;
}

/* "/SYSV00001234 (deleted)" */
static bool is_named_so(const char *link, uint32_t *ret_key)
{
	int end = 0;

	return sscanf(link, "/SYSV%8x (deleted)%n", ret_key, &end) == 1 && end && !link[end];
}

/* Is it on a file system of the kernel's own: where memory without a name is, of any
 * page size? A file with such a name can be elsewhere too. */
static bool is_internal(const struct crcore_object *obj, uint32_t *ret_huge)
{
	struct statfs fs;
	struct stat st;

	*ret_huge = 0;
	if (fstatfs(obj->local_fd, &fs) < 0)
		return false;
	unsigned flags = MFD_CLOEXEC;
	if (fs.f_type == HUGETLBFS_MAGIC) {
		*ret_huge = (uint32_t)__builtin_ctzll((unsigned long long)fs.f_bsize);
		flags |= MFD_HUGETLB | *ret_huge << 26 /* MFD_HUGE_SHIFT */;
	}
	cleanup_close int fd = memfd_create("crcore", flags);
	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == obj->st.st_dev;
}

int shm_claim(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	uint32_t key, huge;
	struct entry e;

	if (!is_named_so(obj->link, &key) || !is_internal(obj, &huge) || obj->class_ != CRCORE_FILE ||
	    obj->use != CRCORE_USE_MAPPING)
		return CRCORE_CLAIM_NONE;
	/* The name keeps the key that a segment had before it was removed. */
	if (!ipc_stat(SHM, (int)obj->st.st_ino, &e) || (e.key && e.key != key) ||
	    (uint64_t)obj->st.st_size < e.size) {
		crcore_advise(err, "run crcore in the IPC namespace that the segment was made in, or "
		              "detach it");
		return crcore_fail(err, -ENOTSUP, "it is a segment of another IPC namespace");
	}
	return CRCORE_CLAIM_EXACT;
}

/* Attached more often than the tree has it: by whom? Asked once per segment. */
int shm_review(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	const struct crcore_object *o;
	uint64_t holders = 0;
	struct entry e;

	for (uint32_t i = 0; (o = s->host->object(s->ctx, i)); i++) {
		if (o->class_ != CRCORE_FILE || o->st.st_ino != obj->st.st_ino)
			continue;
		if (!holders && o != obj)
			return 0;
		holders += o->holders;
	}
	if (!ipc_stat(SHM, (int)obj->st.st_ino, &e) || e.nattch <= holders)
		return 0;
	pid_t by = scope_attached_by(s, &obj->st);
	if (!by)
		return 0; /* in a tree that runs, it was just detached */
	int r = scope_shared(s, SHM, e.id, by, "has it attached too", err);
	return r < 0 ? r : 0;
}

/* ---- contents ---- */

/* A descriptor of what is mapped at p. Not an attachment: the kernel does not count it. */
static int open_mapping(void *p, uint64_t len, bool write)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
	         (unsigned long)p + (unsigned long)len);
	int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* How long the mapping at p is: a segment of huge pages is rounded up. */
static uint64_t mapping_length(const void *p)
{
	unsigned long start, end, len = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	while (f && !len && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && start == (unsigned long)p)
			len = end - start;
	if (f)
		fclose(f);
	return len;
}

int shm_open_memory(int id, bool write)
{
	void *p = shmat(id, NULL, write ? 0 : SHM_RDONLY);

	if (p == (void *)-1)
		return -errno;
	int fd = open_mapping(p, mapping_length(p), write);
	shmdt(p);
	return fd;
}

static int hand_over(struct ipc *s, int id, int fd, struct crcore_error *err)
{
	if (!GROW(s->attached, s->nattached))
		return crcore_no_memory(err);
	s->attached[s->nattached++] = id;
	return s->host->save_contents(s->ctx, (uint64_t)id, fd, err);
}

static bool is_handed_over(const struct ipc *s, int id)
{
	for (unsigned i = 0; i < s->nattached; i++)
		if (s->attached[i] == id)
			return true;
	return false;
}

int shm_save_object(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	Ipc__Attach rec = IPC__ATTACH__INIT;
	char path[40];
	int id = (int)obj->st.st_ino;

	rec.object = obj->id;
	rec.shm = (uint32_t)id;
	rec.read_only = (obj->flags & O_ACCMODE) == O_RDONLY;
	int r = record_put(s->host, s->ctx, "attach", &rec.base, err);
	if (r < 0 || is_handed_over(s, id) ||
	    (s->shared == SHARED_KEEP && scope_attached_by(s, &obj->st)))
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", obj->local_fd);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return crcore_fail(err, -errno, "cannot open its memory: %s", strerror(errno));
	return hand_over(s, id, fd, err);
}

/* ---- records ---- */

static uint32_t huge_shift(int fd)
{
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != HUGETLBFS_MAGIC)
		return 0;
	return (uint32_t)__builtin_ctzll((unsigned long long)fs.f_bsize);
}

static const struct crcore_object *object_of(const struct ipc *s, int id)
{
	const struct crcore_object *o;

	for (uint32_t i = 0; (o = s->host->object(s->ctx, i)); i++)
		if (o->class_ == CRCORE_FILE && o->st.st_ino == (ino_t)id)
			return o;
	return NULL;
}

/* Its page size, and for one that is not attached its contents. */
static int save_memory(struct ipc *s, const struct used *u, Ipc__Shm *rec, struct crcore_error *err)
{
	const struct crcore_object *o = object_of(s, u->e.id);
	char path[64];

	if (o) {
		snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", o->pid,
		         (unsigned long long)o->start, (unsigned long long)o->end);
		cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return crcore_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
		rec->huge_shift = huge_shift(fd);
		return 0;
	}
	if (u->kept)
		return 0;
	cleanup_close int fd = shm_open_memory(u->e.id, false);
	if (fd < 0)
		return crcore_fail(err, fd, "cannot attach it: %s", strerror(-fd));
	rec->huge_shift = huge_shift(fd);
	return hand_over(s, u->e.id, fd, err);
}

static int save_one(struct ipc *s, const struct used *u, struct crcore_error *err)
{
	Ipc__Shm rec = IPC__SHM__INIT;
	Ipc__Perm perm = IPC__PERM__INIT;
	const struct crcore_object *o = object_of(s, u->e.id);

	perm_fill(&perm, &u->e, u->kept || (o && !is_handed_over(s, u->e.id)));
	rec.perm = &perm;
	rec.size = u->e.size;
	rec.cpid = (uint32_t)u->e.pids[0];
	rec.lpid = (uint32_t)u->e.pids[1];
	rec.removed = u->e.mode & SHM_DEST;
	if (rec.removed && o) /* as its mappings are still named */
		is_named_so(o->link, &perm.key);
	rec.locked = u->e.mode & SHM_LOCKED;
	int r = save_memory(s, u, &rec, err);
	if (r == 0)
		r = record_put(s->host, s->ctx, "shm", &rec.base, err);
	if (r < 0)
		crcore_fail_at(err, -1, -1, "System V shm %d", u->e.id);
	return r;
}

int shm_save(struct ipc *s, struct crcore_error *err)
{
	struct used *v;
	unsigned n;
	int r = scope_list(s, SHM, &v, &n, err);

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = save_one(s, &v[i], err);
	free(v);
	return r;
}
