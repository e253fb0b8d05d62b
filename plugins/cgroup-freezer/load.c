/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: the records, which are untrusted, and whether what they ask for can be
 * had here: hierarchies that are mounted, groups that are there or are not, as
 * the mode wants it. Nothing is changed.
 */
#include "cgroup-freezer.h"

#include "settings.h"

#define MAX_GROUPS 4096

static int damaged(const char *section, struct crcore_error *err)
{
	return crcore_fail(err, -EBADMSG, "a record of section %s is damaged", section);
}

/* Absolute and normalised; nothing that /proc or a log would show otherwise. */
static bool valid_path(const char *p)
{
	size_t len;

	if (*p != '/' || strlen(p) >= PATH_MAX / 2)
		return false;
	for (const char *c = p; *c; c++)
		if ((unsigned char)*c < ' ')
			return false;
	for (p++; *p; p += len + 1) {
		len = strcspn(p, "/");
		if (!len || (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.'))))
			return false;
		if (!p[len])
			return true;
	}
	return p[-1] != '/' || p[-2] == '\0';
}

static bool valid_file(const CgroupFreezer__File *f)
{
	if (!*f->name || strchr(f->name, '/') || !strcmp(f->name, ".") || !strcmp(f->name, ".."))
		return false;
	if (f->mode & ~07777u || (f->value.len && !setting_find(f->name)))
		return false;
	return !memchr(f->value.data ? f->value.data : (const uint8_t *)"", 0, f->value.len);
}

/* Values become strings. */
static int end_values(CgroupFreezer__Group *rec)
{
	for (size_t i = 0; i < rec->n_files; i++) {
		CgroupFreezer__File *f = rec->files[i];
		uint8_t *v = f->value.len ? realloc(f->value.data, f->value.len + 1) : f->value.data;
		if (f->value.len && !v)
			return -ENOMEM;
		f->value.data = v;
		if (v)
			v[f->value.len] = '\0';
	}
	return 0;
}

static int load_group(struct cg *cg, const void *msg, size_t len, struct crcore_error *err)
{
	CgroupFreezer__Group *rec = cgroup_freezer__group__unpack(NULL, len, msg);
	struct rgroup *g = calloc(1, sizeof(*g));
	bool ok = rec && rec->id == cg->ngroups + 1 && rec->id <= MAX_GROUPS &&
	          (!strcmp(rec->path, "/") || valid_path(rec->path)) && !(rec->mode & ~07777u);

	for (size_t i = 0; ok && i < rec->n_files; i++)
		ok = valid_file(rec->files[i]);
	if (!ok || !g || !GROW(cg->groups, cg->ngroups) || end_values(rec) < 0) {
		if (rec)
			cgroup_freezer__group__free_unpacked(rec, NULL);
		free(g);
		return ok ? crcore_no_memory(err) : damaged("group", err);
	}
	g->cg = cg;
	g->rec = rec;
	g->procs = -1;
	cg->groups[cg->ngroups++] = g;
	return 0;
}

static int load_member(struct cg *cg, const void *msg, size_t len, struct crcore_error *err)
{
	CgroupFreezer__Member *rec = cgroup_freezer__member__unpack(NULL, len, msg);
	bool ok = rec && rec->pid && rec->pid <= INT_MAX && rec->tid <= INT_MAX;

	for (size_t i = 0; ok && i < rec->n_groups; i++) {
		ok = rec->groups[i] && rec->groups[i] <= cg->ngroups;
		for (size_t k = 0; ok && k < i; k++)
			ok = strcmp(cg->groups[rec->groups[i] - 1]->rec->hierarchy,
			            cg->groups[rec->groups[k] - 1]->rec->hierarchy);
	}
	if (!ok || !GROW(cg->places, cg->nplaces)) {
		if (rec)
			cgroup_freezer__member__free_unpacked(rec, NULL);
		return ok ? crcore_no_memory(err) : damaged("member", err);
	}
	cg->places[cg->nplaces++] = rec;
	return 0;
}

int groups_load(struct cg *cg, const char *section, const void *msg, size_t len,
                struct crcore_error *err)
{
	return !strcmp(section, "group") ? load_group(cg, msg, len, err)
	                                 : load_member(cg, msg, len, err);
}

void groups_free(struct cg *cg)
{
	for (unsigned i = 0; i < cg->ngroups; i++) {
		cgroup_freezer__group__free_unpacked(cg->groups[i]->rec, NULL);
		free(cg->groups[i]->path);
		if (cg->groups[i]->procs >= 0)
			close(cg->groups[i]->procs);
		free(cg->groups[i]);
	}
	for (unsigned i = 0; i < cg->nplaces; i++)
		cgroup_freezer__member__free_unpacked(cg->places[i], NULL);
	free(cg->groups);
	free(cg->places);
	cg->groups = NULL;
	cg->places = NULL;
	cg->ngroups = cg->nplaces = 0;
}

/* ---- where they go --------------------------------------------------------------------- */

/* The new root for a hierarchy, NULL: none. The last that fits wins. */
static const char *new_root(const struct cg *cg, const char *key)
{
	const char *ret = NULL;

	for (const char *const *p = cg->roots; p && *p; p++) {
		const char *colon = strchr(*p, ':');
		if (**p == '/')
			ret = *p;
		else if (colon && (size_t)(colon - *p) == strlen(key) &&
		         !strncmp(*p, key, (size_t)(colon - *p)))
			ret = colon + 1;
	}
	return ret;
}

/* The topmost of the tree's own groups in a hierarchy. */
static const char *top_of(const struct cg *cg, const char *key)
{
	for (unsigned i = 0; i < cg->ngroups; i++)
		if (!cg->groups[i]->rec->outer && !strcmp(cg->groups[i]->rec->hierarchy, key))
			return cg->groups[i]->rec->path;
	return NULL;
}

static int find_place(struct rgroup *g)
{
	const char *root = new_root(g->cg, g->rec->hierarchy);
	const char *top = root ? top_of(g->cg, g->rec->hierarchy) : NULL;
	const char *rest = g->rec->path;

	if (!top)
		g->path = strdup(rest);
	else if (!path_below(rest, top))
		g->skipped = true;
	else if (!root[1] && !rest[strlen(top)])
		g->path = strdup("/");
	else if (asprintf(&g->path, "%s%s", root[1] ? root : "", rest + strlen(top)) < 0)
		g->path = NULL;
	return g->skipped || g->path ? 0 : -ENOMEM;
}

static int check_roots(const struct cg *cg, struct crcore_error *err)
{
	for (const char *const *p = cg->roots; p && *p; p++) {
		const char *path = **p == '/' ? *p : strchr(*p, ':');
		if (path && *path == ':')
			path++;
		if (path && valid_path(path))
			continue;
		crcore_fail_at(err, -1, -1, "--cgroup-root %s", *p);
		crcore_advise(err, "write [HIERARCHY:]/PATH, e.g. freezer:/web");
		return crcore_fail(err, -EINVAL, "not an absolute path of a group");
	}
	return 0;
}

/* ---- what is there ------------------------------------------------------------------------ */

struct anybody { pid_t pid; const struct hierarchy *h; };

static int note(void *arg, pid_t pid)
{
	((struct anybody *)arg)->pid = pid;
	return 1;
}

static int note_in(void *arg, const char *path)
{
	struct anybody *a = arg;

	return group_processes(a->h, path, note, a) == 1;
}

/* A process in the group or below it; 0: none. The tree does not exist yet. */
static pid_t find_anybody(const struct rgroup *g)
{
	struct anybody a = { 0, g->h };

	if (!note_in(&a, g->path))
		groups_below(g->h, g->path, note_in, &a);
	return a.pid;
}

static int check_frost(const struct rgroup *g, struct crcore_error *err)
{
	bool frozen = g->exists && g->h->freezer && g->path[1] && frost_state(g->h, g->path) == 1;
	pid_t pid = g->exists && g->path[1] && (frozen || g->rec->frozen) ? find_anybody(g) : 0;

	if (!pid)
		return 0;
	crcore_advise(err, "restore somewhere else (--cgroup-root), or --manage-cgroups=ignore to let "
	              "the tree run in the groups of crcore");
	group_fail(g, -EBUSY, NULL, err);
	return crcore_fail(err, -EBUSY, frozen ? "it is frozen, with process %d in it" :
	                   "the tree was frozen by it, but process %d lives in it", pid);
}

static int check_group(struct rgroup *g, struct crcore_error *err)
{
	const enum manage mode = g->cg->manage;
	const char *key = g->rec->hierarchy;
	int r;

	g->h = hierarchy_find(g->cg, key, strlen(key));
	if (!g->h || !g->h->mount) {
		crcore_fail_at(err, -1, -1, "cgroup %s", g->rec->path);
		crcore_advise(err, "mount it, or use --manage-cgroups=ignore");
		return crcore_fail(err, -ENODEV, "the hierarchy %s of control groups is not %s here",
		                   *key ? key : "version 2", g->h ? "mounted" : "known");
	}
	if ((r = find_place(g)) < 0)
		return crcore_fail(err, r, "out of memory");
	if (g->skipped)
		return 0;
	g->exists = group_exists(g->h, g->path);
	if (!g->exists && (mode == MANAGE_NONE || mode == MANAGE_PROPS)) {
		crcore_advise(err, "make it, or let crcore make it: --manage-cgroups=soft");
		return group_fail(g, -ENOENT, "does not exist", err);
	}
	if (g->exists && mode == MANAGE_STRICT && !g->rec->outer) {
		crcore_advise(err, "remove it, or use --manage-cgroups=soft to take it as it is");
		return group_fail(g, -EEXIST, "exists already", err);
	}
	return check_frost(g, err);
}

int groups_check(struct cg *cg, struct crcore_error *err)
{
	int r = check_roots(cg, err);

	if (r < 0)
		return r;
	if (cg->manage == MANAGE_IGNORE)
		groups_free(cg);
	if (cg->ngroups && (r = mounts_find(cg, err)) < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < cg->ngroups; i++)
		r = check_group(cg->groups[i], err);
	return r;
}
