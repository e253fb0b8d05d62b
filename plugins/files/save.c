/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: one record per object, contents of ghosts, hidden names (link-remap).
 * The target's description is never read through: contents come from another
 * description of the same inode, so offset, access time and readahead of the
 * target stay as they are.
 */
#include "files.h"
#include "plugins/wills.h"

#include <linux/fs.h>
#include <search.h>
#include <sys/mman.h>

#define CHUNK (256 * 1024)

/* -- contents of ghosts ------------------------------------------------------ */

static int open_for_reading(int fd)
{
	int in = files_reopen(fd, O_RDONLY | O_NOATIME);

	return in == -EPERM ? files_reopen(fd, O_RDONLY) : in;
}

/* Appends [pos, end) of in to the blob. */
static int copy_run(struct files *f, int in, int blob, char *buf, uint64_t pos, uint64_t end,
                    struct crcore_error *err)
{
	while (pos < end) {
		size_t want = end - pos < CHUNK ? (size_t)(end - pos) : CHUNK;
		ssize_t n = pread(in, buf, want, (off_t)pos);
		if (n <= 0)
			return crcore_fail(err, n ? -errno : -EIO, "cannot read the contents: %s",
			                   n ? strerror(errno) : "it shrank while being read");
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(blob, buf + done, (size_t)(n - done));
			if (w < 0)
				return crcore_fail(err, -errno, "cannot write the contents to the image: %s",
				                   strerror(errno));
			done += w;
		}
		pos += (uint64_t)n;
		f->blob_end += (uint64_t)n;
		if (CRCORE_HAS(f->host, alive))
			f->host->alive(f->ctx);
	}
	return 0;
}

static int add_extent(Files__Ghost *g, uint64_t offset, uint64_t length, uint64_t blob)
{
	Files__Extent *e = malloc(sizeof(*e));
	void *more = realloc(g->extents, (g->n_extents + 1) * sizeof(*g->extents));

	if (more)
		g->extents = more;
	if (!e || !more) {
		free(e);
		return -ENOMEM;
	}
	files__extent__init(e);
	e->offset = offset;
	e->length = length;
	e->blob = blob;
	g->extents[g->n_extents++] = e;
	return 0;
}

static int copy_contents(struct files *f, int in, Files__Ghost *g, struct crcore_error *err)
{
	cleanup_free char *buf = malloc(CHUNK);
	int blob = f->host->blob(f->ctx, "ghost", err);
	off_t data = 0, hole = 0, size = (off_t)g->size;
	int r = 0;

	if (blob < 0)
		return blob;
	if (!buf)
		return crcore_no_memory(err);
	while (!r && hole < size) {
		data = lseek(in, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		if (data < 0)
			data = hole;
		hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		if (data >= hole)
			break;
		if (add_extent(g, (uint64_t)data, (uint64_t)(hole - data), f->blob_end) < 0)
			return crcore_no_memory(err);
		r = copy_run(f, in, blob, buf, (uint64_t)data, (uint64_t)hole, err);
	}
	return r;
}

static void fill_ghost(Files__Ghost *g, uint32_t id, struct location *where)
{
	const struct stat *st = &where->st;

	g->id = id;
	g->embedded = where->how == FOUND_PATH;
	g->path = where->path;
	g->dir = g->embedded ? "" : where->base;
	g->memfd = where->memfd;
	g->huge_shift = where->huge_shift;
	g->mode = st->st_mode;
	g->uid = st->st_uid;
	g->gid = st->st_gid;
	g->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	g->atime_s = st->st_atim.tv_sec;
	g->atime_ns = (uint32_t)st->st_atim.tv_nsec;
	g->mtime_s = st->st_mtim.tv_sec;
	g->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

static int write_ghost(struct files *f, const struct crcore_object *obj, struct location *where,
                       uint32_t id, struct crcore_error *err)
{
	Files__Ghost g = FILES__GHOST__INIT;
	cleanup_close int in = -1;
	int r = 0;

	fill_ghost(&g, id, where);
	r = xattrs_read(obj->local_fd, &g, err);
	if (r < 0) {
		xattrs_clear(&g);
		return r;
	}
	if (S_ISREG(where->st.st_mode)) {
		in = open_for_reading(obj->local_fd);
		if (in < 0) {
			xattrs_clear(&g);
			return crcore_fail(err, in, "cannot open the nameless file to read its contents: %s",
			                   strerror(-in));
		}
		if (where->memfd) {
			int seals = fcntl(in, F_GET_SEALS);
			g.seals = seals < 0 ? F_SEAL_SEAL : (uint32_t)seals;
		}
		r = g.huge_shift ? f->host->save_contents(f->ctx, id, in, err) :
		                   copy_contents(f, in, &g, err);
	}
	if (!r)
		r = record_put(f->host, f->ctx, "ghost", &g.base, err);
	for (size_t i = 0; i < g.n_extents; i++)
		free(g.extents[i]);
	free(g.extents);
	xattrs_clear(&g);
	return r;
}

static int by_inode(const void *a, const void *b)
{
	const struct ghost_saved *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* The id of the ghost of an object; written on the first call for its inode. */
static int save_ghost(struct files *f, const struct crcore_object *obj, struct location *where,
                      uint32_t *ret_id, struct crcore_error *err)
{
	struct ghost_saved *new = malloc(sizeof(*new)), **node = NULL;

	if (new) {
		*new = (struct ghost_saved){ where->st.st_dev, where->st.st_ino, f->nsaved + 1 };
		node = tsearch(new, &f->saved, by_inode);
	}
	if (!node || *node != new)
		free(new);
	if (!node)
		return crcore_no_memory(err);
	*ret_id = (*node)->id;
	if (*node != new)
		return 0;
	f->nsaved++;
	return write_ghost(f, obj, where, *ret_id, err);
}

/* -- hidden names --------------------------------------------------------------- */

static void unmake_remap(void *arg)
{
	struct remap *m = arg;

	if (m->made)
		unlink(m->path);
	m->made = false;
}

static struct remap *find_remap(const struct files *f, const struct stat *st)
{
	for (unsigned i = 0; i < f->nremaps; i++)
		if (f->remaps[i]->dev == st->st_dev && f->remaps[i]->ino == st->st_ino)
			return f->remaps[i];
	return NULL;
}

static int make_remap(struct files *f, const struct crcore_object *obj, struct location *where,
                      struct remap **ret, struct crcore_error *err)
{
	struct remap *m = calloc(1, sizeof(*m)), **more;
	char proc[40];
	int r;

	more = realloc(f->remaps, (f->nremaps + 1) * sizeof(*more));
	if (more)
		f->remaps = more;
	if (!m || !more) {
		free(m);
		return crcore_no_memory(err);
	}
	f->remaps[f->nremaps++] = m;
	m->dev = where->st.st_dev;
	m->ino = where->st.st_ino;
	if (snprintf(m->path, sizeof(m->path), "%s/.crcore-link-%llu-%d",
	             strcmp(where->base, "/") ? where->base : "", (unsigned long long)m->ino,
	             (int)getpid()) >= (int)sizeof(m->path))
		return crcore_fail(err, -ENAMETOOLONG, "there is no room for a hidden name");
	r = f->host->undo(f->ctx, unmake_remap, m, false, err);
	if (r == 0)
		r = will_remove_unless_sealed(f->host, f->ctx, m->path, m->dev, m->ino, err);
	if (r < 0)
		return r;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", obj->local_fd);
	if (linkat(AT_FDCWD, proc, AT_FDCWD, m->path, AT_SYMLINK_FOLLOW) < 0)
		return crcore_fail(err, -errno, "cannot give it the hidden name %s: %s", m->path,
		                   strerror(errno));
	m->made = true;
	*ret = m;
	return 0;
}

/* -- one object ------------------------------------------------------------------ */

static int add_lock(void *arg, const Files__Lock *lock)
{
	Files__File *rec = arg;
	Files__Lock *copy = malloc(sizeof(*copy));
	void *more = realloc(rec->locks, (rec->n_locks + 1) * sizeof(*rec->locks));

	if (more)
		rec->locks = more;
	if (!copy || !more) {
		free(copy);
		return -ENOMEM;
	}
	*copy = *lock;
	rec->locks[rec->n_locks++] = copy;
	return 0;
}

static void fill_file(Files__File *rec, const struct crcore_object *obj, struct location *where)
{
	const struct stat *st = &where->st;

	rec->id = obj->id;
	rec->path = where->path;
	rec->flags = obj->flags & ~(uint32_t)(O_CLOEXEC | O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY);
	rec->pos = obj->pos > 0 ? (uint64_t)obj->pos : 0;
	rec->use = obj->class_ == CRCORE_FILE ? obj->use : 0;
	rec->mode = st->st_mode;
	rec->size = (uint64_t)st->st_size;
	rec->mtime_s = st->st_mtim.tv_sec;
	rec->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	rec->ino = st->st_ino;
	rec->dev = st->st_dev;
	rec->rdev = st->st_rdev;
	rec->pseudo = where->pseudo;
	rec->pid = (uint32_t)obj->pid;
	rec->fd = (uint32_t)obj->fd;
}

static bool is_cloexec(const char *fdinfo)
{
	const char *flags = strstr(fdinfo, "flags:");

	return flags && strtoul(flags + strlen("flags:"), NULL, 8) & O_CLOEXEC;
}

/* Does the image take its contents, in case it changes? */
bool files_embeds(const struct files *f, const struct crcore_object *obj,
                  const struct location *where)
{
	return where->how == FOUND_PATH && S_ISREG(where->st.st_mode) && !where->pseudo &&
	       !(obj->flags & O_PATH) && obj->use != CRCORE_USE_EXE &&
	       files_changed(f, where->path) == CHANGED_EMBED;
}

static int fill_kind(struct files *f, const struct crcore_object *obj, struct location *where,
                     Files__File *rec, struct crcore_error *err)
{
	struct remap *m = find_remap(f, &where->st);
	int r = 0;

	if (!m && where->how == FOUND_REMAP)
		r = make_remap(f, obj, where, &m, err);
	if (r < 0)
		return r;
	if (m && (where->how == FOUND_REMAP || !strcmp(where->path, m->path))) {
		rec->kind = FILES__KIND__REMAP;
		rec->path = m->path;
		return 0;
	}
	switch (where->how) {
	case FOUND_PATH:
		rec->kind = FILES__KIND__PATH;
		return files_embeds(f, obj, where) ? save_ghost(f, obj, where, &rec->embedded, err) : 0;
	case FOUND_GHOST:
		rec->kind = FILES__KIND__GHOST;
		return save_ghost(f, obj, where, &rec->ghost, err);
	case FOUND_REMAP: /* is above */
		break;
	case FOUND_DEAD:
		rec->kind = FILES__KIND__DEAD;
		return 0;
	case FOUND_OWN:
		rec->kind = FILES__KIND__OWN;
		rec->cloexec = is_cloexec(obj->fdinfo);
		return own_save(f, obj, rec, err);
	}
	return crcore_fail(err, -EINVAL, "unknown sort of file");
}

int files_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct files *f = state;
	Files__File rec = FILES__FILE__INIT;
	const char *external = files_external(f, obj);
	struct location where;
	int r;

	if (external)
		return files_save_external(f, obj, external, err);
	r = files_locate(f, obj, &where, err);
	if (r < 0)
		return r;
	fill_file(&rec, obj, &where);
	r = fill_kind(f, obj, &where, &rec, err);
	if (!r)
		r = files_locks(f, obj, add_lock, &rec, err);
	if (!r)
		r = record_put(f->host, f->ctx, "file", &rec.base, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	for (size_t i = 0; i < rec.n_locks; i++)
		free(rec.locks[i]);
	free(rec.locks);
	own_clear(&rec);
	return r;
}
