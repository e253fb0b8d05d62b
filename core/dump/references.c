/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that tasks refer to without a descriptor: executable, current and root
 * directory, what a mapping maps. Two references to one file, under one name
 * and with one access, are one object.
 */
#include <fcntl.h>
#include "core/dump/dump.h"
#include "core/util/trace.h"
#include "core/util/util.h"

struct references {
	struct survey *s;
	struct blockers *blockers;
	unsigned first;        /* objects from here on are references */
	struct seen *seen;     /* mapped files, as the memory map shows them */
	unsigned nseen;
};

/* Most mappings are of files that were met shortly before: found by what the
 * memory map says of them, they need not be looked at again. */
#define LOOK_BACK 64
struct seen {
	uint64_t dev, ino;
	uint32_t flags;
	int id;
};

/* Access that a mapping needs when it is made again: as the file was opened,
 * which the permission bits of its map_files link show (proc(5)). */
static uint32_t mapping_access(const struct task *t, const Crcore__Vma *vma, const char *path)
{
	struct stat st;

	if (!vma->shared)
		return O_RDONLY;
	if (fstatat(t->proc, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return st.st_mode & S_IWUSR ? O_RDWR : O_RDONLY;
	return vma->prot & 2 /* PROT_WRITE */ ? O_RDWR : O_RDONLY;
}

static struct object *find(const struct references *r, const struct object *like)
{
	for (unsigned i = r->first; i < r->s->objects.n; i++) {
		struct object *o = r->s->objects.v[i];
		if (o->abi.st.st_ino == like->abi.st.st_ino && o->abi.st.st_dev == like->abi.st.st_dev &&
		    o->abi.flags == like->abi.flags && !strcmp(o->link, like->link))
			return o;
	}
	return NULL;
}

/* Returns the object's id. */
static int refer(struct references *r, struct task *t, const char *path, uint32_t use,
                 uint32_t flags, const Crcore__Vma *vma, struct crcore_error *err)
{
	struct object *o = calloc(1, sizeof(*o));
	char link[4096];

	if (!o)
		return crcore_fail(err, -ENOMEM, "out of memory");
	snprintf(o->path, sizeof(o->path), "%s", path);
	ssize_t n = readlinkat(t->proc, path, link, sizeof(link) - 1);
	if (n < 0 || fstatat(t->proc, path, &o->abi.st, 0) < 0) {
		int e = errno;
		free(o);
		crcore_fail_at(err, t->abi.pid, -1, "/proc/%d/%s", t->abi.pid, path);
		return crcore_fail(err, e == ENOENT || e == ESRCH ? -EAGAIN : -e, "cannot look at it: %s",
		                   strerror(e));
	}
	link[n] = '\0';
	o->link = strdup(link);
	o->fdinfo = strdup("");
	o->task = t;
	o->abi.size = sizeof(o->abi);
	o->abi.class_ = CRCORE_FILE;
	o->abi.use = use;
	o->abi.pid = t->abi.pid;
	o->abi.fd = o->abi.local_fd = -1;
	o->abi.flags = flags;
	o->abi.link = o->link;
	o->abi.fdinfo = o->fdinfo;
	o->abi.start = vma ? vma->start : 0;
	o->abi.end = vma ? vma->end : 0;
	struct object *known = o->link && o->fdinfo ? find(r, o) : NULL;
	if (known || !o->link || !o->fdinfo) {
		free(o->link);
		free(o->fdinfo);
		free(o);
		if (!known)
			return crcore_fail(err, -ENOMEM, "out of memory");
	} else {
		int e = objects_add(&r->s->objects, known = o, err);
		if (e < 0)
			return e;
	}
	known->abi.holders++;
	return (int)known->abi.id;
}

static struct object *find_seen(const struct references *r, const struct mapped_file *f,
                                uint32_t flags)
{
	unsigned stop = r->nseen > LOOK_BACK ? r->nseen - LOOK_BACK : 0;

	for (unsigned i = r->nseen; i-- > stop;) {
		const struct seen *s = &r->seen[i];
		if (s->ino != f->ino || s->dev != f->dev || s->flags != flags)
			continue;
		struct object *o = r->s->objects.v[s->id - 1];
		if (!strcmp(o->link, f->link))
			return o;
	}
	return NULL;
}

static int refer_mapping(void *arg, struct mm *mm, const struct mapped_file *f,
                         struct crcore_error *err)
{
	struct references *r = arg;
	uint32_t flags = mapping_access(mm->task, f->vma, f->map_file);
	struct object *o = find_seen(r, f, flags);
	int id;

	if (o) {
		o->abi.holders++;
		return (int)o->abi.id;
	}
	id = refer(r, mm->task, f->map_file, CRCORE_USE_MAPPING, flags, f->vma, err);
	if (id >= 0) {
		if (!GROW(r->seen, r->nseen))
			return crcore_fail(err, -ENOMEM, "out of memory");
		r->seen[r->nseen++] = (struct seen){ f->dev, f->ino, flags, id };
	}
	return id;
}

static int read_umask(const struct task *t, uint32_t *ret, struct crcore_error *err)
{
	cleanup_free char *status = NULL;
	int r = proc_read(t->proc, "status", &status, NULL, err);
	const char *v = r < 0 ? NULL : proc_field(status, "Umask");

	if (v)
		*ret = (uint32_t)strtoul(v, NULL, 8);
	return r;
}

/* A root directory that is ours too needs no object. */
static bool root_is_ours(const struct task *t)
{
	struct stat theirs, ours;
	char link[8] = "";

	return fstatat(t->proc, "root", &theirs, 0) == 0 && stat("/", &ours) == 0 &&
	       theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino &&
	       readlinkat(t->proc, "root", link, sizeof(link) - 1) == 1;
}

static int refer_directories(struct references *r, struct task *t, Crcore__Fs *fs,
                             struct crcore_error *err)
{
	int id = refer(r, t, "cwd", CRCORE_USE_CWD, O_PATH | O_DIRECTORY, NULL, err);

	if (id < 0)
		return id;
	fs->cwd = (uint32_t)id;
	if (!root_is_ours(t)) {
		if ((id = refer(r, t, "root", CRCORE_USE_ROOT, O_PATH | O_DIRECTORY, NULL, err)) < 0)
			return id;
		fs->root = (uint32_t)id;
	}
	return read_umask(t, &fs->umask, err);
}

static int refer_mm(struct references *r, struct mm *mm, struct crcore_error *err)
{
	uint64_t start = trace_start();
	int id = refer(r, mm->task, "exe", CRCORE_USE_EXE, O_RDONLY, NULL, err);

	if (id < 0)
		return id;
	mm->rec->exe = (uint32_t)id;
	mm->known = watch_known(r->s->watch, mm->task->abi.pid);
	id = vmas_read(mm, refer_mapping, r, err);
	mm->known = NULL;
	trace_end(start, mm->task->abi.pid, "memory", "read mappings");
	return id;
}

static int keep_on(struct references *r, struct task *t, int e, struct crcore_error *err)
{
	if (e >= 0)
		return 0;
	crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	if (!r->blockers || survey_changed(e) || e == -ENOMEM)
		return e;
	blockers_take(r->blockers, err);
	return 0;
}

int survey_references(struct survey *s, struct blockers *blockers, struct crcore_error *err)
{
	struct references r = { .s = s, .blockers = blockers, .first = s->objects.n };
	int e = 0;

	for (unsigned i = 0; e == 0 && i < s->tree.ntasks; i++) {
		struct task *t = s->tree.tasks[i];
		Crcore__Fs *fs = t->rec->fs ? s->fs[t->rec->fs - 1] : NULL;
		if (fs && !fs->cwd)
			e = keep_on(&r, t, refer_directories(&r, t, fs, err), err);
		if (e == 0 && t->mm && t->mm->task == t)
			e = keep_on(&r, t, refer_mm(&r, t->mm, err), err);
	}
	free(r.seen);
	return e;
}
