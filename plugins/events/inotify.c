/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, dump. The kernel tells of each watch the inode, find.c its path. Events
 * that nobody has read cannot be copied: reading takes them away, and no system call
 * puts one back.
 */
#include "events.h"

#include <stdio.h>
#include <sys/ioctl.h>

struct line { /* of fdinfo, of one watch */
	unsigned wd, mask;
	struct watched at;
};

static int claim(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	int waiting = 0;

	if (e->queued != QUEUED_REFUSE || ioctl(obj->local_fd, FIONREAD, &waiting) < 0 || !waiting)
		return 0;
	crcore_advise(err, "dump again when the program has read them, or set queued of the plugin events "
	              "to overflow (it is told that some were lost) or drop");
	/* As long as the tree runs it may still read them: the frozen tree decides. */
	return crcore_fail(err, -EAGAIN, "%d bytes of events are not read yet and cannot be copied", waiting);
}

/* -- fdinfo ------------------------------------------------------------------------- */

static bool read_line(const char *p, struct line *l)
{
	if (sscanf(p, "inotify wd:%x ino:%llx sdev:%x mask:%x", &l->wd, &l->at.ino, &l->at.sdev,
	           &l->mask) != 4)
		return false;
	watched_handle(p, &l->at);
	return true;
}

/* -- records ------------------------------------------------------------------------- */

static int add_watch(Events__Event *rec, const struct line *l, const char *path, const struct stat *st)
{
	void *more = realloc(rec->watches, (rec->n_watches + 1) * sizeof(*rec->watches));
	Events__Watch *w = malloc(sizeof(*w));

	if (more)
		rec->watches = more;
	if (!more || !w) {
		free(w);
		return -ENOMEM;
	}
	events__watch__init(w);
	w->wd = l->wd;
	w->mask = l->mask;
	w->ino = st->st_ino;
	w->mode = st->st_mode & S_IFMT;
	rec->watches[rec->n_watches++] = w;
	w->path = strdup(path);
	return w->path ? 0 : -ENOMEM;
}

static int each_watch(const struct crcore_object *obj, Events__Event *rec, struct crcore_error *err)
{
	char path[PATH_MAX], what[24];
	struct stat st;
	struct line l;
	int r = 0;

	for (const char *p = obj->fdinfo; !r && p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!read_line(p, &l))
			continue;
		snprintf(what, sizeof(what), "watch %u", l.wd);
		r = watched_find(&l.at, what, path, &st, err);
		if (!r && rec && add_watch(rec, &l, path, &st) < 0)
			r = crcore_fail(err, -ENOMEM, "out of memory");
	}
	return r;
}

static int review(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	return each_watch(obj, NULL, err);
}

static int by_wd(const void *a, const void *b)
{
	const Events__Watch *x = *(Events__Watch *const *)a, *y = *(Events__Watch *const *)b;

	return (x->wd > y->wd) - (x->wd < y->wd);
}

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	int waiting = 0, r;

	rec->inotify = malloc(sizeof(*rec->inotify));
	if (!rec->inotify)
		return crcore_fail(err, -ENOMEM, "out of memory");
	events__inotify__init(rec->inotify);
	r = each_watch(obj, rec, err);
	if (rec->n_watches)
		qsort(rec->watches, rec->n_watches, sizeof(*rec->watches), by_wd);
	if (ioctl(obj->local_fd, FIONREAD, &waiting) < 0 || !waiting)
		return r;
	rec->inotify->overflow = e->queued == QUEUED_OVERFLOW;
	e->host->log(e->ctx, 1, "%d bytes of events of descriptor %d of task %d are not in the image",
	             waiting, obj->fd, (int)obj->pid);
	return r;
}

static bool is(const Events__Event *rec)
{
	return rec->inotify != NULL;
}

const struct kind kind_inotify = {
	.name = "inotify", .title = "inotify", .claim = claim, .review = review, .save = save, .is = is,
	.check = watch_check, .create = watch_create, .settle = watch_settle,
};
