/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: groups that are missing are made, and set. Whatever is made is removed
 * again, and whatever is changed is set back, should the restore fail, also if
 * crcore is killed.
 */
#include "cgroup-freezer.h"

#include <sys/stat.h>
#include "settings.h"

#define PATIENCE 2000 /* ms, for the last tasks of a group that failed to be gone */

int group_fail(const struct rgroup *g, int code, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "cgroup %s%s", g->h->mount, g->path ? g->path : g->rec->path);
	return what ? crcore_fail(err, code, "%s", what) : code;
}

/* ---- undo --------------------------------------------------------------------------------- */

struct made { struct cg *cg; struct hierarchy *h; char *path; };

static void unmake(void *arg)
{
	struct made *m = arg;
	struct timespec pause = { 0, 1000000 };
	int i = 0;

	while (unlinkat(m->h->dir, m->path + 1, AT_REMOVEDIR) < 0 && errno == EBUSY && i++ < PATIENCE)
		nanosleep(&pause, NULL);
	if (i > PATIENCE)
		m->cg->host->log(m->cg->ctx, 1, "cgroup %s%s cannot be removed: somebody is in it",
		                 m->h->mount, m->path);
}

struct was { struct rgroup *g; const char *file; char *value; };

static void set_back(void *arg)
{
	struct was *w = arg;

	if (setting_write(w->g->h, w->g->path, w->file, w->value) < 0)
		w->g->cg->host->log(w->g->cg->ctx, 1, "cgroup %s%s: %s cannot be set back", w->g->h->mount,
		                    w->g->path, w->file);
}

/* What one write sets back. Lists (devices, limits of devices) take more: they are set back
 * by the undo entry only. */
static int will_setting(struct rgroup *g, const char *file, const char *value,
                        struct crcore_error *err)
{
	const struct setting *s = setting_find(file);
	char path[PATH_MAX];

	if (!s || s->how != PLAIN || !CRCORE_HAS(g->cg->host, will) ||
	    snprintf(path, sizeof(path), "%s%s/%s", g->h->mount, g->path, file) >= (int)sizeof(path))
		return 0;
	return g->cg->host->will(g->cg->ctx, path, value, err);
}

static int remember(struct rgroup *g, const char *file, struct crcore_error *err)
{
	cleanup_close int dir = group_open(g->h, g->path, NULL, O_PATH | O_DIRECTORY);
	struct was *w = cg_keep(g->cg, sizeof(*w));
	int r;

	if (!w)
		return crcore_no_memory(err);
	*w = (struct was){ g, file, NULL };
	if (dir < 0 || read_whole(dir, file, &w->value) < 0)
		return 0; /* it is not there: the write will fail too */
	cg_keep_text(g->cg, w->value);
	if ((r = will_setting(g, file, w->value, err)) < 0)
		return r;
	return g->cg->host->undo(g->cg->ctx, set_back, w, false, err);
}

/* ---- making --------------------------------------------------------------------------------- */

static int make(struct cg *cg, struct hierarchy *h, const char *path, mode_t mode,
                struct crcore_error *err)
{
	struct made *m = cg_keep(cg, sizeof(*m));
	char full[PATH_MAX];
	int r;

	if (!m || !(m->path = cg_keep_text(cg, strdup(path))))
		return crcore_no_memory(err);
	m->cg = cg;
	m->h = h;
	snprintf(full, sizeof(full), "%s%s", h->mount, path);
	if ((r = cg->host->undo(cg->ctx, unmake, m, false, err)) < 0)
		return r;
	if (CRCORE_HAS(cg->host, will) && (r = cg->host->will(cg->ctx, full, NULL, err)) < 0)
		return r;
	if (mkdirat(h->dir, path + 1, mode) == 0)
		return 0;
	r = -errno;
	m->path[1] = '\0'; /* not ours to remove */
	return r;
}

/* A cpuset without processors takes no task: one that the image does not know is as its parent. */
static void inherit(const struct hierarchy *h, const char *path)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char up[PATH_MAX], value[4096];

	snprintf(up, sizeof(up), "%s", path);
	*strrchr(up, '/') = '\0';
	for (int i = 0; i < 2; i++)
		if (!h->v2 && group_read(h, *up ? up : "/", files[i], value, sizeof(value)) > 0)
			group_write(h, path, files[i], value);
}

/* The groups above a new root (--cgroup-root). */
static int make_above(struct rgroup *g, struct crcore_error *err)
{
	char path[PATH_MAX];
	int r = 0;

	snprintf(path, sizeof(path), "%s", g->path);
	for (char *p = strchr(path + 1, '/'); r == 0 && p; *p = '/', p = strchr(p + 1, '/')) {
		*p = '\0';
		if (group_exists(g->h, path))
			continue;
		if ((r = make(g->cg, g->h, path, 0755, err)) == 0)
			inherit(g->h, path);
	}
	return r;
}

static int make_group(struct rgroup *g, struct crcore_error *err)
{
	int r = make_above(g, err);

	if (r == 0)
		r = make(g->cg, g->h, g->path, 0755, err);
	if (r < 0) {
		group_fail(g, r, NULL, err);
		return crcore_fail(err, r, "cannot be made: %s", strerror(-r));
	}
	g->made = true;
	cleanup_close int fd = group_open(g->h, g->path, NULL, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || fchown(fd, g->rec->uid, g->rec->gid) < 0 || fchmod(fd, g->rec->mode) < 0)
		return group_fail(g, fd < 0 ? fd : -errno, "cannot be given to its owner", err);
	if (g->rec->threaded && (r = group_write(g->h, g->path, "cgroup.type", "threaded")) < 0)
		return group_fail(g, r, "cannot be made a group of threads", err);
	return 0;
}

/* ---- settings ------------------------------------------------------------ */

static bool is_to_be_set(const struct rgroup *g)
{
	const enum manage mode = g->cg->manage;

	if (g->skipped || !g->path[1])
		return false;
	return g->made || (!g->rec->outer && (mode == MANAGE_PROPS || mode == MANAGE_FULL));
}

static int fail_setting(const struct rgroup *g, const CgroupFreezer__File *f, int r,
                        struct crcore_error *err)
{
	group_fail(g, r, NULL, err);
	crcore_advise(err, "see --manage-cgroups=none, which takes groups as they are");
	return crcore_fail(err, r, "%s cannot be set to %.*s: %s", f->name,
	                   (int)strcspn((char *)f->value.data, "\n"), f->value.data, strerror(-r));
}

/* Some values depend on each other: what fails at first is tried again when all are done. */
static int set_all(struct rgroup *g, bool early, bool last, unsigned *failed,
                   struct crcore_error *err)
{
	*failed = 0;
	for (const struct setting *s = settings; s->name; s++)
		for (size_t i = 0; (s->when == EARLY) == early && i < g->rec->n_files; i++) {
			const CgroupFreezer__File *f = g->rec->files[i];
			int r;
			if (!f->value.len || setting_find(f->name) != s)
				continue;
			if (!g->made && !last && (r = remember(g, f->name, err)) < 0)
				return r;
			r = setting_write(g->h, g->path, f->name, (char *)f->value.data);
			*failed += r < 0;
			if (r < 0 && last)
				return fail_setting(g, f, r, err);
		}
	return 0;
}

static void dress(const struct rgroup *g)
{
	cleanup_close int dir = group_open(g->h, g->path, NULL, O_RDONLY | O_DIRECTORY);
	struct stat st;

	for (size_t i = 0; dir >= 0 && i < g->rec->n_files; i++) {
		const CgroupFreezer__File *f = g->rec->files[i];
		if (fstatat(dir, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* of another kernel */
		if (((st.st_uid != f->uid || st.st_gid != f->gid) &&
		     fchownat(dir, f->name, f->uid, f->gid, AT_SYMLINK_NOFOLLOW) < 0) ||
		    ((st.st_mode & 07777) != f->mode && fchmodat(dir, f->name, f->mode, 0) < 0))
			g->cg->host->log(g->cg->ctx, 1, "cgroup %s%s: %s does not get its owner: %s",
			                 g->h->mount, g->path, f->name, strerror(errno));
	}
}

int group_set(struct rgroup *g, bool early, struct crcore_error *err)
{
	unsigned failed;
	int r;

	if (!is_to_be_set(g))
		return 0;
	r = set_all(g, early, false, &failed, err);
	if (r == 0 && failed)
		r = set_all(g, early, true, &failed, err);
	if (r == 0 && !early && g->made)
		dress(g);
	return r;
}

/* ---- all ----------------------------------------------------------------- */

static void freeze_again(void *arg)
{
	const struct rgroup *g = arg;

	frost_write(g->h, g->path, true);
}

/* The same should crcore be killed: once those that were to be built in it are gone, for
 * frozen they could not end. bytes: the path of the group, then the file and what to write. */
static void freeze_empty(const void *bytes, size_t len)
{
	const char *group = bytes, *file = group + strlen(group) + 1, *text = file + strlen(file) + 1;
	struct timespec pause = { 0, 1000000 };
	int dir = open(group, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char c;

	for (int i = 0; i < PATIENCE; i++) {
		int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, &c, 1);
		if (fd >= 0)
			close(fd);
		if (n <= 0)
			break;
		nanosleep(&pause, NULL);
	}
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	ssize_t ignored = fd < 0 ? 0 : write(fd, text, strlen(text));
	(void)ignored;
}

static int will_freeze(struct rgroup *g, struct crcore_error *err)
{
	const char *file = frost_file(g->h), *text = frost_text(g->h, true);
	char bytes[PATH_MAX + 64];
	int n = snprintf(bytes, sizeof(bytes), "%s%s%c%s%c%s", g->h->mount, g->path, 0, file, 0, text);

	if (n >= (int)sizeof(bytes) || !CRCORE_HAS(g->cg->host, will_call))
		return 0;
	return g->cg->host->will_call(g->cg->ctx, freeze_empty, bytes, (size_t)n + 1, err);
}

/* A dump leaves its group frozen when it has ended the tree: nobody could be built in it. */
static int thaw(struct rgroup *g, struct crcore_error *err)
{
	int r;

	if (!g->exists || !g->h->freezer || !g->path[1] || frost_state(g->h, g->path) != 1)
		return 0;
	if ((r = g->cg->host->undo(g->cg->ctx, freeze_again, g, false, err)) < 0 ||
	    (r = will_freeze(g, err)) < 0)
		return r;
	r = frost_write(g->h, g->path, false);
	return r < 0 ? group_fail(g, r, "cannot be thawed", err) : 0;
}

int groups_create(struct cg *cg, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < cg->ngroups; i++) {
		struct rgroup *g = cg->groups[i];
		if (g->skipped)
			continue;
		r = g->exists ? thaw(g, err) : make_group(g, err);
		if (r == 0)
			r = group_set(g, true, err);
	}
	return r < 0 ? r : charge_enter(cg, err);
}
