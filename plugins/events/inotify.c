/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, dump. The kernel tells of each watch the inode, find.c its path. Events
 * that nobody has read cannot be copied: reading takes them away, and no system call
 * puts one back.
 */
#include "events.h"

#include <stdio.h>

struct line { /* of fdinfo, of one watch */
	unsigned wd, mask;
	struct watched at;
};

static int claim(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	return e->queued == QUEUED_REFUSE ?
	       queue_check(obj, "overflow (it is told that some were lost) or drop", err) : 0;
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

static int add_watch(Events__Event *rec, const struct line *l)
{
	Events__Watch *w = GROW(rec->watches, rec->n_watches) ? malloc(sizeof(*w)) : NULL;

	if (!w)
		return -ENOMEM;
	events__watch__init(w);
	rec->watches[rec->n_watches++] = w;
	w->wd = l->wd;
	w->mask = l->mask;
	w->ino = l->at.st.st_ino;
	w->mode = l->at.st.st_mode & S_IFMT;
	w->path = strdup(l->at.path);
	return w->path ? 0 : -ENOMEM;
}

static int each_watch(const char *text, void *arg, struct crcore_error *err)
{
	const struct looking *k = arg;
	struct line l;
	char what[24];

	if (!read_line(text, &l))
		return 0;
	snprintf(what, sizeof(what), "watch %u", l.wd);
	int r = watched_find(k->events, &l.at, what, err);
	if (r < 0 || !k->rec)
		return r;
	return add_watch(k->rec, &l) < 0 ? crcore_no_memory(err) : 0;
}

static int review(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	return fdinfo_each(obj->fdinfo, each_watch, &(struct looking){ e, NULL }, err);
}

static int by_wd(const void *a, const void *b)
{
	const Events__Watch *x = *(Events__Watch *const *)a, *y = *(Events__Watch *const *)b;

	return (x->wd > y->wd) - (x->wd < y->wd);
}

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	rec->inotify = malloc(sizeof(*rec->inotify));
	if (!rec->inotify)
		return crcore_no_memory(err);
	events__inotify__init(rec->inotify);
	int r = fdinfo_each(obj->fdinfo, each_watch, &(struct looking){ e, rec }, err);
	if (rec->n_watches)
		qsort(rec->watches, rec->n_watches, sizeof(*rec->watches), by_wd);
	rec->inotify->overflow = queue_lost(e, obj) && e->queued == QUEUED_OVERFLOW;
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
