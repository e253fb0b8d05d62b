/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors of a table, and the directories of a task. The coordinator
 * has the descriptions; a task takes a duplicate with pidfd_getfd(), which gives
 * it the lowest free number. The table is empty but for the worker's pidfd and
 * is filled in ascending order, so that number is known beforehand: mostly it
 * is the right one already.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

uint32_t fetch_fd(struct restore *r, prog *p, const char *label, int fd)
{
	return CALL(p, label, SYS_pidfd_getfd, EXPECT_OK, 0, IMM(r->coordinator_fd + fd_holder(fd)),
	            IMM(fd_number(fd)), IMM(0));
}

void close_fd(prog *p, uint32_t op)
{
	CALL(p, "close", SYS_close, EXPECT_EQUAL, 0, RESULT(op));
}

struct table {
	const Crcore__Files *rec;
	unsigned keep, nkeep; /* the pidfds of the worker and its banks */
	size_t next;          /* fds before this index are in place */
	uint32_t lowest_free;
};

/* The lowest number that is neither taken by an earlier descriptor nor kept. */
static uint32_t lowest_free(struct table *t, size_t placed)
{
	for (;;) {
		while (t->next < placed && t->rec->fds[t->next]->fd < t->lowest_free)
			t->next++;
		if (t->next < placed && t->rec->fds[t->next]->fd == t->lowest_free)
			t->lowest_free++;
		else if (t->lowest_free - t->keep < t->nkeep)
			t->lowest_free++;
		else
			return t->lowest_free;
	}
}

struct placed { uint32_t object, fd; };

static int by_object(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static void place_copy(prog *p, const Crcore__Fd *f, uint32_t from)
{
	CALL(p, "duplicate descriptor", SYS_dup3, EXPECT_EQUAL, f->fd, IMM(from), IMM(f->fd),
	     IMM(f->cloexec ? O_CLOEXEC : 0));
}

static int place(struct stub *s, const Crcore__Fd *f, uint32_t lowest, struct crcore_error *err)
{
	int fd = object_fd(s->r, f->object, err);

	if (fd < 0 && !s->r->only_plan) {
		crcore_fail_at(err, (pid_t)s->rec->pid, (int)f->fd, "object %u", f->object);
		return crcore_fail(err, fd, "was not made");
	}
	uint32_t op = CALL(s->p, "fetch descriptor", SYS_pidfd_getfd, EXPECT_EQUAL, lowest,
	                   IMM(s->r->coordinator_fd + fd_holder(fd)), IMM(fd_number(fd)), IMM(0));
	if (lowest != f->fd) {
		CALL(s->p, "number descriptor", SYS_dup3, EXPECT_EQUAL, f->fd, RESULT(op), IMM(f->fd),
		     IMM(f->cloexec ? O_CLOEXEC : 0));
		close_fd(s->p, op);
	} else if (!f->cloexec) {
		CALL(s->p, "inherit at exec", SYS_fcntl, EXPECT_EQUAL, 0, IMM(f->fd), IMM(F_SETFD),
		     IMM(0));
	}
	return 0;
}

int files_build(struct stub *s, struct crcore_error *err)
{
	const Crcore__Files *rec = s->files;
	struct table t = { .rec = rec, .keep = (unsigned)s->r->coordinator_fd,
	                   .nkeep = 1 + s->r->nbanks };
	cleanup_free struct placed *v = NULL;
	int r = 0;

	share_ready(s, SHARE_FILES);
	if (!rec)
		return 0;
	share_wait(s, SHARE_FILES);
	/* A table that is copied while others use it holds what they hold for a moment. */
	if (s->r->files_shared && t.keep > 0)
		CALL(s->p, "close what was inherited", SYS_close_range, EXPECT_EQUAL, 0, IMM(0),
		     IMM(t.keep - 1), IMM(0));
	if (s->r->files_shared)
		CALL(s->p, "close executables that were inherited", SYS_close_range, EXPECT_EQUAL, 0,
		     IMM(spare_fd(s->r)), IMM(executable_fd(s->r, s->r->births.n)), IMM(0));
	if (!rec->n_fds)
		return 0;
	v = calloc(rec->n_fds, sizeof(*v));
	if (!v)
		return crcore_no_memory(err);
	for (size_t i = 0; i < rec->n_fds; i++)
		v[i] = (struct placed){ rec->fds[i]->object, rec->fds[i]->fd };
	qsort(v, rec->n_fds, sizeof(*v), by_object);
	for (size_t i = 0; i < rec->n_fds && r == 0; i++) {
		const Crcore__Fd *f = rec->fds[i];
		struct placed key = { f->object, f->fd };
		struct placed *e = bsearch(&key, v, rec->n_fds, sizeof(*v), by_object);
		if (e > v && e[-1].object == f->object) /* a lower number has it: dup() */
			place_copy(s->p, f, e[-1].fd);
		else
			r = place(s, f, lowest_free(&t, i), err);
	}
	return r;
}

/* ---- directories -------------------------------------------------------------------- */

static int enter(struct stub *s, uint32_t object, bool as_root, struct crcore_error *err)
{
	int fd = object_fd(s->r, object, err);

	if (fd < 0 && !s->r->only_plan)
		return fd;
	uint32_t op = fetch_fd(s->r, s->p, as_root ? "fetch root directory" : "fetch directory", fd);
	CALL(s->p, "enter directory", SYS_fchdir, EXPECT_EQUAL, 0, RESULT(op));
	if (as_root)
		CALL(s->p, "change root", SYS_chroot, EXPECT_EQUAL, 0, DATA(prog_data(s->p, ".", 2)));
	close_fd(s->p, op);
	return 0;
}

int fs_build(struct stub *s, struct crcore_error *err)
{
	const Crcore__Fs *fs = s->fs;
	int r = 0;

	if (!fs)
		return 0;
	if (fs->root)
		r = enter(s, fs->root, true, err);
	if (r == 0 && fs->cwd)
		r = enter(s, fs->cwd, false, err);
	CALL(s->p, "set umask", SYS_umask, EXPECT_ANY, 0, IMM(fs->umask));
	return r;
}
