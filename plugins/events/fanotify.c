/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fanotify: a group and its marks, on inodes, mounts and file systems. All of that is in
 * fdinfo. Events that nobody has read cannot be copied, as with inotify; and here
 * nothing but a full queue makes the kernel say that some were lost.
 *
 * Groups that are asked for permission are refused: whoever touches such a file waits for
 * the program, and so would crcore, while it holds the program.
 */
#include "events.h"

#include <stdio.h>
#include <sys/fanotify.h>
#include <sys/sysmacros.h>

#ifndef FAN_MARK_EVICTABLE
#define FAN_MARK_EVICTABLE 0x200
#endif
#ifndef FAN_MARK_IGNORE
#define FAN_MARK_IGNORE 0x400
#endif
#define FAN_PRE_ACCESS_ 0x00100000
#define ASKS (FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | FAN_PRE_ACCESS_)
#define FLAGS (FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE | FAN_MARK_IGNORE)
/* In an ignored mask of the old sort the kernel has these by itself. */
#define FLAGS_OF_EVENTS (FAN_ONDIR | FAN_EVENT_ON_CHILD)

enum { INODE, MOUNT, FILESYSTEM, NTYPES };

/* ---- fdinfo ---------------------------------------------------------------------------- */

struct line { /* of one mark */
	unsigned type, flags, mask, ignored;
	int mnt_id;
	struct watched at;
};

static bool read_line(const char *p, struct line *l)
{
	static const char marks[] = "mflags:%x mask:%x ignored_mask:%x";
	int at = 0;

	memset(l, 0, sizeof(*l));
	if (sscanf(p, "fanotify ino:%llx sdev:%x %n", &l->at.ino, &l->at.sdev, &at) == 2 && at) {
		watched_handle(p, &l->at);
	} else if (sscanf(p, "fanotify mnt_id:%x %n", (unsigned *)&l->mnt_id, &at) == 1 && at) {
		l->type = MOUNT;
	} else if (sscanf(p, "fanotify sdev:%x %n", &l->at.sdev, &at) == 1 && at) {
		l->type = FILESYSTEM;
	} else {
		return false;
	}
	return sscanf(p + at, marks, &l->flags, &l->mask, &l->ignored) == 3;
}

static int check_line(const char *text, void *arg, struct crcore_error *err)
{
	struct line l;

	if (strncmp(text, "fanotify ", 9) || !strncmp(text, "fanotify flags:", 15))
		return 0;
	if (!read_line(text, &l)) {
		crcore_advise(err, "let the program remove it");
		return crcore_fail(err, -ENOTSUP, "it has a mark of a sort that crcore does not know: %s",
		                   text);
	}
	if (!(l.mask & ASKS))
		return 0;
	crcore_advise(err, "let the program close the group before the dump and open it again after "
	              "the restore");
	return crcore_fail(err, -ENOTSUP, "it is asked for permission: processes that touch its files "
	                   "wait for it, and so would crcore");
}

static int claim(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	int r = fdinfo_each(obj->fdinfo, check_line, NULL, err);

	return r == 0 && e->queued != QUEUED_DROP ? queue_check(obj, "drop", err) : r;
}

/* ---- mounts ------------------------------------------------------------------------------ */

/* The path of a mount, by its id or the device of its file system; not one that is covered. */
static const char *find_mount(struct events *e, const struct line *l)
{
	const struct mounts *m = mounts_read(e);
	struct statx st;

	for (unsigned i = 0; i < m->n; i++)
		if ((l->type == MOUNT ? m->v[i].id == l->mnt_id : m->v[i].sdev == l->at.sdev) &&
		    statx(AT_FDCWD, m->v[i].path, AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) == 0 &&
		    st.stx_mnt_id == (uint64_t)m->v[i].id)
			return m->v[i].path;
	return NULL;
}

static int locate(struct events *e, struct line *l, struct crcore_error *err)
{
	const char *path = l->type == INODE ? NULL : find_mount(e, l);

	if (l->type == INODE)
		return watched_find(e, &l->at, "a mark", err);
	if (path) {
		snprintf(l->at.path, sizeof(l->at.path), "%s", path);
		return 0;
	}
	crcore_advise(err, "let the program remove it");
	return crcore_fail(err, -ENOTSUP, "no path leads to a %s that it marks",
	                   l->type == MOUNT ? "mount" : "file system");
}

/* ---- dump ---------------------------------------------------------------------------------- */

static int add_mark(Events__Event *rec, const struct line *l)
{
	Events__Mark *m = GROW(rec->marks, rec->n_marks) ? malloc(sizeof(*m)) : NULL;

	if (!m)
		return -ENOMEM;
	events__mark__init(m);
	rec->marks[rec->n_marks++] = m;
	m->type = l->type;
	m->flags = l->flags;
	m->mask = l->mask;
	m->ignored = l->ignored;
	if (l->type == INODE) {
		m->ino = l->at.st.st_ino;
		m->mode = l->at.st.st_mode & S_IFMT;
	}
	m->path = strdup(l->at.path);
	return m->path ? 0 : -ENOMEM;
}

static int each_mark(const char *text, void *arg, struct crcore_error *err)
{
	const struct looking *k = arg;
	struct line l;

	if (!read_line(text, &l))
		return 0;
	int r = locate(k->events, &l, err);
	if (r < 0 || !k->rec)
		return r;
	return add_mark(k->rec, &l) < 0 ? crcore_no_memory(err) : 0;
}

static int review(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	return fdinfo_each(obj->fdinfo, each_mark, &(struct looking){ e, NULL }, err);
}

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	const char *p = strstr(obj->fdinfo, "fanotify flags:");

	rec->fanotify = malloc(sizeof(*rec->fanotify));
	if (!rec->fanotify)
		return crcore_no_memory(err);
	events__fanotify__init(rec->fanotify);
	if (!p || sscanf(p, "fanotify flags:%x event-flags:%x", &rec->fanotify->flags,
	                 &rec->fanotify->event_flags) != 2)
		return crcore_fail(err, -EPROTO, "this kernel does not tell its flags");
	queue_lost(e, obj);
	return fdinfo_each(obj->fdinfo, each_mark, &(struct looking){ e, rec }, err);
}

/* ---- restore ------------------------------------------------------------------------------- */

static bool is(const Events__Event *rec)
{
	return rec->fanotify != NULL;
}

static int check(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	for (size_t i = 0; i < rec->n_marks; i++) {
		const Events__Mark *m = rec->marks[i];
		if (m->type >= NTYPES || m->path[0] != '/' || m->mask & ASKS ||
		    m->flags & ~(uint32_t)FLAGS || !(m->mask | m->ignored))
			return crcore_fail(err, -EBADMSG, "its record makes no sense");
	}
	return 0;
}

static int create(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rec->n_marks; i++) {
		const Events__Mark *m = rec->marks[i];
		struct stat st;
		if (m->type == INODE)
			r = watch_check_path(e, m->path, m->ino, m->mode, err);
		else if (stat(m->path, &st) < 0)
			r = crcore_fail(err, -errno, "it marks what is mounted at %.200s: %s", m->path,
			                strerror(errno));
	}
	if (r < 0)
		return r;
	int fd = fanotify_init(rec->fanotify->flags, rec->fanotify->event_flags);
	if (fd < 0) {
		crcore_advise(err, "raise /proc/sys/fs/fanotify/max_user_groups");
		return crcore_fail(err, -errno, "cannot make it: %s", strerror(errno));
	}
	/* What it was made with shows; what it is now may differ. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, (int)rec->flags & O_NONBLOCK) < 0) {
		close(fd);
		return crcore_fail(err, -EIO, "cannot set its flags");
	}
	return fd;
}

static int add(const Events__Mark *m, int fd, bool ignored)
{
	static const unsigned types[NTYPES] = { 0, FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM };
	unsigned flags = FAN_MARK_ADD | types[m->type] | (m->flags & FAN_MARK_EVICTABLE);
	uint64_t mask = ignored ? m->ignored : m->mask;

	if (ignored) {
		flags |= m->flags & FAN_MARK_IGNORE ? FAN_MARK_IGNORE : FAN_MARK_IGNORED_MASK;
		flags |= m->flags & FAN_MARK_IGNORED_SURV_MODIFY;
		if (!(m->flags & FAN_MARK_IGNORE))
			mask &= ~(uint64_t)FLAGS_OF_EVENTS;
	}
	return mask && fanotify_mark(fd, flags, mask, AT_FDCWD, m->path) < 0 ? -errno : 0;
}

/* Last, so that the program hears nothing of the restore. */
static int settle(struct events *e, const Events__Event *rec, int fd, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rec->n_marks; i++) {
		if ((r = add(rec->marks[i], fd, false)) == 0)
			r = add(rec->marks[i], fd, true);
		if (r < 0) {
			crcore_advise(err, "raise /proc/sys/fs/fanotify/max_user_marks");
			crcore_fail(err, r, "cannot mark %.200s: %s", rec->marks[i]->path, strerror(-r));
		}
	}
	return r;
}

const struct kind kind_fanotify = {
	.name = "[fanotify]", .title = "fanotify group", .claim = claim, .review = review, .save = save,
	.is = is, .check = check, .create = create, .settle = settle,
};
