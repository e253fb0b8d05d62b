/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: records are read and checked before anything exists, then become
 * descriptors in the coordinator. A file below /proc of a restored task is not
 * there yet when descriptions are made: the object is a placeholder then (own.c).
 */
#include "files.h"

#include <sys/syscall.h>

/* -- load ------------------------------------------------------------------------ */

static int load_file(struct files *f, const void *msg, size_t len, struct crcore_error *err)
{
	Files__File *rec = files__file__unpack(NULL, len, msg);

	if (!rec)
		return crcore_fail(err, -EBADMSG, "a record of section file is damaged");
	if (!GROW(f->recs, f->nrecs)) {
		files__file__free_unpacked(rec, NULL);
		return crcore_no_memory(err);
	}
	f->recs[f->nrecs++] = rec;
	if (!rec->id || rec->kind < FILES__KIND__PATH || rec->kind > FILES__KIND__DEAD ||
	    (rec->kind == FILES__KIND__DEAD && strncmp(rec->path, "/proc/", 6) != 0) ||
	    (rec->kind != FILES__KIND__GHOST && rec->kind != FILES__KIND__EXTERNAL &&
	     rec->path[0] != '/') ||
	    strlen(rec->path) >= PATH_MAX || rec->pos > INT64_MAX ||
	    rec->flags & (O_CREAT | O_TRUNC | O_EXCL))
		return crcore_fail(err, -EBADMSG, "a record of section file makes no sense");
	return 0;
}

static int load_ghost(struct files *f, const void *msg, size_t len, struct crcore_error *err)
{
	struct ghost *g = calloc(1, sizeof(*g));

	if (!g || !GROW(f->ghosts, f->nghosts)) {
		free(g);
		return crcore_no_memory(err);
	}
	g->fd = g->tmpfile_fd = -1;
	f->ghosts[f->nghosts++] = g;
	g->rec = files__ghost__unpack(NULL, len, msg);
	if (!g->rec)
		return crcore_fail(err, -EBADMSG, "a record of section ghost is damaged");
	return 0;
}

int files_load_record(void *state, const char *section, uint32_t version, const void *msg,
                      size_t len, struct crcore_error *err)
{
	if (!strcmp(section, "file"))
		return load_file(state, msg, len, err);
	if (!strcmp(section, "ghost"))
		return load_ghost(state, msg, len, err);
	if (!strcmp(section, "lock"))
		return posix_load(state, msg, len, err);
	return crcore_fail(err, -EBADMSG, "there is no section %s", section);
}

/* -- check -------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	const Files__File *x = *(Files__File *const *)a, *y = *(Files__File *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

static Files__File *find(const struct files *f, uint32_t id)
{
	Files__File key = { .id = id }, *p = &key, **hit;

	hit = f->nrecs ? bsearch(&p, f->recs, f->nrecs, sizeof(*f->recs), by_id) : NULL;
	return hit ? *hit : NULL;
}

static int check_path(struct files *f, const Files__File *rec, struct crcore_error *err)
{
	struct crcore_error mine = CRCORE_ERROR_INIT;
	struct stat st;
	int r;

	if (lstat(rec->path, &st) == 0) {
		r = files_compare(f, rec, &st, &mine);
	} else {
		r = crcore_fail(&mine, -errno, "it was there at the dump and is not now: %s",
		                strerror(errno));
		crcore_advise(&mine, "put it back");
	}
	if (r < 0 && rec->embedded) { /* the image has its own */
		struct ghost *g = ghost_find(f, rec->embedded);
		if (!g || !g->rec->embedded)
			return crcore_fail(err, -EBADMSG, "the record refers to contents that are not there");
		f->host->log(f->ctx, 2, "%s: %s; its contents come from the image", rec->path,
		             mine.message);
		g->wanted = true;
		return 0;
	}
	if (r < 0)
		*err = mine;
	return r;
}

static int check_file(struct files *f, const Files__File *rec, struct crcore_error *err)
{
	struct ghost *g;

	if (files_inherited(f, rec) >= 0)
		return 0;
	switch (rec->kind) {
	case FILES__KIND__OWN:
		return own_check(rec, err);
	case FILES__KIND__DEAD:
		return 0;
	case FILES__KIND__EXTERNAL:
		return files_check_external(rec, err);
	case FILES__KIND__GHOST:
		g = ghost_find(f, rec->ghost);
		if (!g || g->rec->embedded)
			return crcore_fail(err, -EBADMSG, "the record refers to contents that are not there");
		g->users++;
		if (rec->flags & TMPFILE_BIT) {
			g->tmpfile = true;
			g->tmpfile_flags = rec->flags;
		}
		return 0;
	default:
		return check_path(f, rec, err);
	}
}

/* Every task asks, and most files are the business of none. */
static int list_acting(struct files *f, struct crcore_error *err)
{
	for (unsigned i = 0; i < f->nrecs; i++) {
		if (f->recs[i]->kind != FILES__KIND__OWN && !f->recs[i]->n_locks)
			continue;
		if (!GROW(f->acting, f->nacting))
			return crcore_no_memory(err);
		f->acting[f->nacting++] = f->recs[i];
	}
	return 0;
}

int files_check(void *state, struct crcore_error *err)
{
	struct files *f = state;
	int r = files_check_inherited(f, err);

	if (r < 0 || (r = ghosts_check(f, err)) < 0 || (r = list_acting(f, err)) < 0)
		return r;
	if (f->nrecs)
		qsort(f->recs, f->nrecs, sizeof(*f->recs), by_id);
	for (unsigned i = 0; i < f->nrecs; i++) {
		struct crcore_error mine = CRCORE_ERROR_INIT;
		int one;
		if (i && f->recs[i]->id == f->recs[i - 1]->id)
			return crcore_fail(err, -EBADMSG, "two records are of object %u", f->recs[i]->id);
		one = check_file(f, f->recs[i], &mine);
		if (one >= 0)
			continue;
		crcore_fail_at(&mine, -1, -1, "%s", f->recs[i]->path);
		if (r < 0) /* the first is the error, the rest goes to the log */
			f->host->log(f->ctx, 1, "%s: %s", mine.object, mine.message);
		else if (err && !err->code)
			*err = mine;
		r = r < 0 ? r : one;
	}
	return r < 0 ? r : files_check_locks(f, err);
}

/* -- create ---------------------------------------------------------------------------- */

static int open_path(struct files *f, const Files__File *rec, struct crcore_error *err)
{
	struct ghost *g = rec->embedded ? ghost_find(f, rec->embedded) : NULL;
	int flags = (int)rec->flags, fd;
	struct stat st;

	fd = g && g->wanted ? embed_place(f, g, err) : 0;
	if (fd < 0)
		return fd;
	if (flags & TMPFILE_BIT)
		flags &= ~O_TMPFILE; /* it got a name later */
	fd = open(rec->path, flags | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return crcore_fail(err, -errno, "cannot open it: %s", strerror(errno));
	if (fstat(fd, &st) < 0 || files_compare(f, rec, &st, err) < 0) {
		close(fd);
		return crcore_fail(err, -ESTALE, "it changed while it was opened");
	}
	return fd;
}

static int open_file(struct files *f, const Files__File *rec, struct crcore_error *err)
{
	struct ghost *g;
	int fd = files_inherited(f, rec);

	if (fd >= 0) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ?
		       crcore_fail(err, -errno, "cannot use crcore's descriptor: %s", strerror(errno)) : fd;
	}
	switch (rec->kind) {
	case FILES__KIND__OWN:
		return own_create(err);
	case FILES__KIND__DEAD:
		return dead_create(rec, err);
	case FILES__KIND__GHOST:
		g = ghost_find(f, rec->ghost);
		return g ? ghost_open(f, g, rec->flags, err) :
		       crcore_fail(err, -EBADMSG, "its contents are missing");
	default:
		return open_path(f, rec, err);
	}
}

int files_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct files *f = state;
	const Files__File *rec = find(f, id);
	int fd, r = 0;

	if (!rec)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
	fd = open_file(f, rec, err);
	if (fd < 0) {
		r = fd;
	} else if (rec->kind != FILES__KIND__OWN && !rec->use && !(rec->flags & O_PATH) &&
	           files_inherited(f, rec) < 0) {
		if (rec->pos && lseek(fd, (off_t)rec->pos, SEEK_SET) < 0 && errno != ESPIPE &&
		    rec->kind != FILES__KIND__DEAD)
			r = crcore_fail(err, -errno, "cannot seek to %llu: %s", (unsigned long long)rec->pos,
			                strerror(errno));
		if (!r)
			r = files_take_locks(fd, rec, err);
	}
	if (r < 0) {
		crcore_fail_at(err, -1, -1, "%s", rec->path);
		if (fd >= 0)
			close(fd);
		return r;
	}
	return fd;
}

/* -- emit ------------------------------------------------------------------------------- */

int files_emit(void *state, const struct crcore_task *task, uint32_t phase,
               struct crcore_program *p, struct crcore_error *err)
{
	struct files *f = state;

	for (unsigned i = 0; i < f->nacting; i++) {
		const Files__File *rec = f->acting[i];
		if (rec->kind == FILES__KIND__OWN)
			own_emit(f, rec, task->pid, phase, p);
		else if (rec->pid == (uint32_t)task->pid && phase == CRCORE_PHASE_FILES)
			files_emit_locks(f, rec, p);
	}
	if (phase == CRCORE_PHASE_LATE) /* tables that are shared are complete now */
		posix_emit(f, task->pid, p);
	return 0;
}

/* -- done --------------------------------------------------------------------------------- */

int files_done(void *state, struct crcore_error *err)
{
	struct files *f = state;

	/* After a restore the hidden names have done their work. */
	for (unsigned i = 0; i < f->nrecs; i++)
		if (f->recs[i]->kind == FILES__KIND__REMAP)
			unlink(f->recs[i]->path);
	for (unsigned i = 0; i < f->nrecs; i++)
		files_truncate(f, f->recs[i]);
	return 0;
}
