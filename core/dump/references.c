/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that tasks refer to without a descriptor: executable, current and root
 * directory, what a mapping maps. Two references to one file, under one name
 * and with one access, are one object.
 *
 * Most of the time goes into /proc, so that is read first, by several threads; then
 * objects are made, task by task. What leads to the same as a parent's (core/task/alike.h) is not
 * looked at.
 */
#include <fcntl.h>
#include <limits.h>
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"
#include "core/util/util.h"

/* What a link of /proc/PID says and leads to. */
struct target {
	char *link;            /* NULL: not looked at, or error says why */
	struct stat st;
	int error;
	struct target *same;   /* of an earlier task, which leads to the same; NULL: none is known */
	int id;                /* of the object that it was found to be, 0: none yet */
};

/* Of a task. */
struct links {
	bool directories;      /* it is the first that has them */
	struct target cwd, root, exe;
	struct vma_list *vmas; /* if it is the first that has the memory */
};

struct references {
	struct survey *s;
	struct blockers *blockers;
	struct links *links;   /* of each task */
	struct stat our_root;
	uint64_t shmem_dev;
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

static void look_at(const struct task *t, const char *path, struct target *ret)
{
	char link[PATH_MAX];

	if (ret->same)
		return;
	ssize_t n = readlinkat(t->proc, path, link, sizeof(link));

	if (n < 0 || fstatat(t->proc, path, &ret->st, 0) < 0)
		ret->error = errno;
	else if (!(ret->link = strndup(link, (size_t)n)))
		ret->error = ENOMEM;
}

/* Takes over what was seen. Returns the object's id. */
static int refer(struct references *r, struct task *t, const char *path, struct target *seen,
                 uint32_t use, uint32_t flags, const Crcore__Vma *vma, struct crcore_error *err)
{
	int e = seen->error;

	if (seen->same && seen->same->id) {
		r->s->objects.v[seen->same->id - 1]->abi.holders++;
		return seen->same->id;
	}
	if (STEAL(seen->same)) { /* that could not be saved */
		look_at(t, path, seen);
		e = seen->error;
	}
	if (e) {
		crcore_fail_at(err, t->abi.pid, -1, "/proc/%d/%s", t->abi.pid, path);
		return crcore_fail(err, e == ENOENT || e == ESRCH ? -EAGAIN : -e, "cannot look at it: %s",
		                   strerror(e));
	}
	struct object *o = calloc(1, sizeof(*o));
	if (!o)
		return crcore_no_memory(err);
	snprintf(o->path, sizeof(o->path), "%s", path);
	o->link = STEAL(seen->link);
	o->abi.st = seen->st;
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
	struct object *known = o->fdinfo ? find(r, o) : NULL;
	if (known || !o->fdinfo) {
		free(o->link);
		free(o->fdinfo);
		free(o);
		if (!known)
			return crcore_no_memory(err);
	} else {
		e = objects_add(&r->s->objects, known = o, err);
		if (e < 0)
			return e;
	}
	known->abi.holders++;
	return seen->id = (int)known->abi.id;
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
	struct target seen = { 0 };
	int id;

	if (o) {
		o->abi.holders++;
		return (int)o->abi.id;
	}
	look_at(mm->task, f->map_file, &seen);
	id = refer(r, mm->task, f->map_file, &seen, CRCORE_USE_MAPPING, flags, f->vma, err);
	free(seen.link);
	if (id >= 0) {
		if (!GROW(r->seen, r->nseen))
			return crcore_no_memory(err);
		r->seen[r->nseen++] = (struct seen){ f->dev, f->ino, flags, id };
	}
	return id;
}

/* A root directory that is ours too needs no object. */
static bool is_our_root(const struct references *r, const struct target *root)
{
	return root->link && !strcmp(root->link, "/") && root->st.st_dev == r->our_root.st_dev &&
	       root->st.st_ino == r->our_root.st_ino;
}

static int refer_directories(struct references *r, struct task *t, struct links *l, Crcore__Fs *fs,
                             struct crcore_error *err)
{
	const uint32_t flags = O_PATH | O_DIRECTORY;
	int id = refer(r, t, "cwd", &l->cwd, CRCORE_USE_CWD, flags, NULL, err);

	if (id < 0)
		return id;
	fs->cwd = (uint32_t)id;
	fs->umask = t->umask;
	if (is_our_root(r, l->root.same ? l->root.same : &l->root))
		return 0;
	id = refer(r, t, "root", &l->root, CRCORE_USE_ROOT, flags, NULL, err);
	if (id >= 0)
		fs->root = (uint32_t)id;
	return id;
}

static struct vmas_how how_to_read(const struct references *r, const struct mm *mm)
{
	return (struct vmas_how){ .flags = r->s->flags,
	                          .known = watch_known(r->s->watch, mm->task->abi.pid),
	                          .shmem_dev = r->shmem_dev, .quick = r->s->quick };
}

static int refer_mm(struct references *r, struct mm *mm, struct links *l, struct crcore_error *err)
{
	uint64_t start = trace_start();
	int id = refer(r, mm->task, "exe", &l->exe, CRCORE_USE_EXE, O_RDONLY, NULL, err);

	if (id >= 0) {
		struct vmas_how how = how_to_read(r, mm);
		mm->rec->exe = (uint32_t)id;
		id = vmas_read(mm, &how, l->vmas, refer_mapping, r, err);
	}
	trace_end(start, mm->task->abi.pid, "memory", "read mappings");
	return id;
}

/* ---- looking ----------------------------------------------------------------------------- */

#define CHUNK 4 /* tasks that a thread looks at before it takes more */

static void look_at_tasks(void *arg, size_t from, size_t to)
{
	struct references *r = arg;

	for (size_t i = from; i < to; i++) {
		struct task *t = r->s->tree.tasks[i];
		struct links *l = &r->links[i];
		uint64_t start = trace_start();
		if (l->directories) {
			look_at(t, "cwd", &l->cwd);
			look_at(t, "root", &l->root);
		}
		if (t->mm && t->mm->task == t) {
			struct vmas_how how = how_to_read(r, t->mm);
			look_at(t, "exe", &l->exe);
			l->vmas = lists_take(&r->s->lists, t);
			l->vmas = l->vmas ? l->vmas : vmas_fetch(t->mm, &how);
		}
		trace_end(start, t->abi.pid, "memory", "look at mappings");
	}
}

static int keep_on(struct references *r, struct task *t, int e, struct crcore_error *err)
{
	if (e >= 0)
		return 0;
	crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	if (!r->blockers || survey_changed(e) || e == -ENOMEM)
		return e;
	blockers_take(r->blockers, NULL, err);
	return 0;
}

static int refer_all(struct references *r, struct crcore_error *err)
{
	int e = 0;

	for (unsigned i = 0; e == 0 && i < r->s->tree.ntasks; i++) {
		struct task *t = r->s->tree.tasks[i];
		struct links *l = &r->links[i];
		if (l->directories)
			e = keep_on(r, t, refer_directories(r, t, l, r->s->fs[t->rec->fs - 1], err), err);
		if (e == 0 && t->mm && t->mm->task == t)
			e = keep_on(r, t, refer_mm(r, t->mm, l, err), err);
	}
	return e;
}

static void share_target(struct target *t, struct target *of_parent, bool same)
{
	if (same)
		t->same = of_parent->same ? of_parent->same : of_parent;
}

/* Most of what a task refers to its parent had when it was cloned. */
static void share_with_parent(const struct references *r, const struct task *t)
{
	const struct task *parent = t->parent;
	struct links *l = &r->links[t->abi.index], *p = parent ? &r->links[parent->abi.index] : NULL;

	if (l->directories && p && p->directories) {
		share_target(&l->cwd, &p->cwd, alike_same(t, parent, ALIKE_CWD, 2));
		share_target(&l->root, &p->root, alike_same(t, parent, ALIKE_ROOT, 2));
	}
	if (t->mm && t->mm->task == t && parent && parent->mm && parent->mm->task == parent)
		share_target(&l->exe, &p->exe, alike_same(t, parent, ALIKE_EXE, 1));
}

/* Decides who looks at what, so that nothing is looked at twice. */
static int prepare(struct references *r, struct crcore_error *err)
{
	const struct tree *tree = &r->s->tree;
	cleanup_free bool *seen = calloc(r->s->nfs + 1, sizeof(*seen)); /* by id of directories */

	r->links = calloc(tree->ntasks, sizeof(*r->links));
	if (!seen || !r->links)
		return crcore_no_memory(err);
	seen[0] = true;
	for (unsigned i = 0; i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		r->links[i].directories = !seen[t->rec->fs];
		seen[t->rec->fs] = true;
		share_with_parent(r, t);
	}
	if (stat("/", &r->our_root) < 0)
		return crcore_fail(err, -errno, "cannot look at our root directory: %s", strerror(errno));
	return vmas_shmem(&r->shmem_dev, err);
}

int survey_references(struct survey *s, struct blockers *blockers, struct crcore_error *err)
{
	struct references r = { .s = s, .blockers = blockers, .first = s->objects.n };
	int e = prepare(&r, err);

	if (e == 0) {
		parallel(s->tree.ntasks, CHUNK, look_at_tasks, &r);
		e = refer_all(&r, err);
	}
	for (unsigned i = 0; r.links && i < s->tree.ntasks; i++) {
		free(r.links[i].cwd.link);
		free(r.links[i].root.link);
		free(r.links[i].exe.link);
		if (s->quick)
			lists_keep(&s->lists, s->tree.tasks[i], r.links[i].vmas);
		else
			vmas_drop(r.links[i].vmas);
	}
	if (s->quick)
		lists_sort(&s->lists);
	free(r.links);
	free(r.seen);
	return e;
}
