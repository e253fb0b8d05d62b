/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, dump. The kernel tells of each watch the inode and a file handle;
 * the restore needs a path. The handle opens the file, whatever it is called by
 * now, and /proc tells the path; where a file system cannot open by handle its
 * mount is searched. Events that nobody has read cannot be copied: reading
 * takes them away, and no system call puts one back.
 */
#include "events.h"

#include <fts.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define DELETED " (deleted)"
#define SEARCH_MOST 200000 /* files looked at where a handle does not open */

struct line { /* of fdinfo, of one watch */
	unsigned wd, sdev, mask;
	unsigned long long ino;
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	};
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

static bool read_handle(const char *hex, struct line *l)
{
	for (unsigned i = 0; i < l->handle.handle_bytes; i++) {
		unsigned byte;
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		l->handle.f_handle[i] = (unsigned char)byte;
	}
	return true;
}

static bool read_line(const char *p, struct line *l)
{
	unsigned bytes = 0, type = 0;
	int at = 0;

	if (sscanf(p, "inotify wd:%x ino:%llx sdev:%x mask:%x", &l->wd, &l->ino, &l->sdev, &l->mask) != 4)
		return false;
	l->handle.handle_bytes = 0;
	p = strstr(p, "fhandle-bytes:");
	if (p && sscanf(p, "fhandle-bytes:%x fhandle-type:%x f_handle:%n", &bytes, &type, &at) == 2 && at &&
	    bytes <= MAX_HANDLE_SZ) {
		l->handle.handle_bytes = bytes;
		l->handle.handle_type = (int)type;
		if (!read_handle(p + at, l))
			l->handle.handle_bytes = 0;
	}
	return true;
}

/* -- the path ----------------------------------------------------------------------- */

static bool leads_to(const char *path, const struct line *l, struct stat *st)
{
	return stat(path, st) == 0 && st->st_ino == l->ino &&
	       st->st_dev == makedev(l->sdev >> 20, l->sdev & 0xfffff);
}

/* 1: found, 0: not on this mount, -ENOENT: it has no name any more. */
static int path_by_handle(const char *mount, struct line *l, char path[PATH_MAX], struct stat *st)
{
	cleanup_close int dir = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	size_t end = strlen(DELETED);
	char link[40];
	ssize_t n;

	if (dir < 0 || !l->handle.handle_bytes)
		return 0;
	fd = open_by_handle_at(dir, &l->handle, O_PATH | O_CLOEXEC);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = fd < 0 ? -1 : readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	if (leads_to(path, l, st))
		return 1;
	return (size_t)n > end && !strcmp(path + n - end, DELETED) ? -ENOENT : 0;
}

static int path_by_search(const char *mount, const struct line *l, char path[PATH_MAX], struct stat *st)
{
	char *const roots[] = { (char *)(uintptr_t)mount, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	unsigned left = SEARCH_MOST;
	int found = 0;
	FTSENT *f;

	while (fts && !found && left-- && (f = fts_read(fts))) {
		if (f->fts_info == FTS_DP || f->fts_info == FTS_NS || f->fts_statp->st_ino != l->ino ||
		    strlen(f->fts_path) >= PATH_MAX || !leads_to(f->fts_path, l, st))
			continue;
		strcpy(path, f->fts_path);
		found = 1;
	}
	if (fts)
		fts_close(fts);
	return found;
}

/* Paths in mountinfo have spaces and the like as \040. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned c;
		if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to++ = (char)c;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Tries every mount of the file system. */
static int each_mount(struct line *l, bool search, char path[PATH_MAX], struct stat *st)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	char *text = NULL, mount[PATH_MAX];
	unsigned ma, mi;
	size_t size = 0;
	int r = 0;

	while (in && !r && getline(&text, &size, in) > 0) {
		if (sscanf(text, "%*d %*d %u:%u %*s %4095s", &ma, &mi, mount) != 3 || ma != l->sdev >> 20 ||
		    mi != (l->sdev & 0xfffff))
			continue;
		unescape(mount);
		r = search ? path_by_search(mount, l, path, st) : path_by_handle(mount, l, path, st);
	}
	free(text);
	if (in)
		fclose(in);
	return r;
}

static int locate(struct line *l, char path[PATH_MAX], struct stat *st, struct crcore_error *err)
{
	int r = each_mount(l, false, path, st);

	if (!r)
		r = each_mount(l, true, path, st);
	if (r > 0)
		return 0;
	crcore_advise(err, "let the program remove the watch (inotify_rm_watch)");
	if (r == -ENOENT)
		return crcore_fail(err, -ENOTSUP, "watch %u is on a deleted file: %.200s", l->wd, path);
	return crcore_fail(err, -ENOTSUP, "no path is found for watch %u (inode %llu of device %u:%u)", l->wd,
	                   l->ino, l->sdev >> 20, l->sdev & 0xfffff);
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
	char path[PATH_MAX];
	struct stat st;
	struct line l;
	int r = 0;

	for (const char *p = obj->fdinfo; !r && p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!read_line(p, &l))
			continue;
		r = locate(&l, path, &st, err);
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
