/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The freezer as it is before crcore changes anything: which groups of the tree,
 * and which above them, are frozen by their own state. And whether the tree has
 * a group for itself, by which all of it can be stopped at once.
 */
#include "cgroup-freezer.h"

int frost_state(const struct hierarchy *h, const char *path)
{
	char text[16];
	int r = group_read(h, path, h->v2 ? "cgroup.freeze" : "freezer.self_freezing", text,
	                   sizeof(text));

	return r < 0 ? r : text[0] == '1';
}

void frosts_free(struct cg *cg)
{
	for (unsigned i = 0; i < cg->nfrosts; i++)
		free(cg->frosts[i].path);
	free(cg->frosts);
	cg->frosts = NULL;
	cg->nfrosts = 0;
	cg->tool = NULL;
}

#define LOOKS 3

/* ---- strangers ------------------------------------------------------------------- */

struct search {
	struct cg *cg;
	const struct hierarchy *h;
	pid_t found;
};

static pid_t parent_of(pid_t pid)
{
	cleanup_free char *text = NULL;
	char name[40], *p;
	int ppid = 0;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	if (read_whole(AT_FDCWD, name, &text) < 0 || !(p = strrchr(text, ')')) ||
	    sscanf(p, ") %*c %d", &ppid) != 1)
		return -1;
	return ppid;
}

static bool descends(pid_t pid, pid_t root)
{
	pid_t at = pid;

	while (at != root && at > 1)
		at = parent_of(at);
	return at == root || at < 0;
}

/* The tree may change while we look: what has ended since, or comes to another parent
 * just now, is none. One that is dead already shows 0 as its parent for a moment. */
static int look_at(void *arg, pid_t pid)
{
	struct search *s = arg;
	struct timespec pause = { 0, 500000 };

	for (int i = 0; i < LOOKS; i++) {
		if (descends(pid, s->cg->root))
			return 0;
		nanosleep(&pause, NULL);
	}
	s->found = pid;
	return 1;
}

static int look_in(void *arg, const char *path)
{
	struct search *s = arg;
	int r = group_processes(s->h, path, look_at, s);

	return r == -ENOENT || r == -ENODEV ? 0 : r; /* removed meanwhile */
}

pid_t find_stranger(struct cg *cg, const struct hierarchy *h, const char *path)
{
	struct search s = { cg, h, 0 };

	if (look_in(&s, path) == 0)
		groups_below(h, path, look_in, &s);
	return s.found;
}

/* ---- what is frozen ---------------------------------------------------------------- */

static int add_frost(struct cg *cg, struct hierarchy *h, const char *path, size_t len)
{
	char at[PATH_MAX];

	if (len >= sizeof(at))
		return -ENAMETOOLONG;
	memcpy(at, path, len);
	at[len] = '\0';
	for (unsigned i = 0; i < cg->nfrosts; i++)
		if (cg->frosts[i].h == h && !strcmp(cg->frosts[i].path, at))
			return 0;
	if (!GROW(cg->frosts, cg->nfrosts))
		return -ENOMEM;
	int r = frost_state(h, at);
	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? 0 : r;
	struct frost *f = &cg->frosts[cg->nfrosts];
	*f = (struct frost){ h, strdup(at), r, r };
	if (!f->path)
		return -ENOMEM;
	cg->nfrosts++;
	return 0;
}

/* The group and all above it but the root, which has no freezer. */
static int add_chain(struct cg *cg, struct hierarchy *h, const char *path, size_t len)
{
	int r = 0;

	while (r == 0 && len > 1) {
		r = add_frost(cg, h, path, len);
		while (path[--len] != '/')
			;
	}
	return r;
}

static int find_frosts(struct cg *cg)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < cg->nsets; i++)
		for (unsigned k = 0; r == 0 && k < cg->nhier; k++) {
			struct hierarchy *h = &cg->hier[k];
			size_t len;
			const char *path = h->freezer && h->mount ? set_path(cg->sets[i], h, &len) : NULL;
			if (path)
				r = add_chain(cg, h, path, len);
		}
	return r;
}

static int refuse_stranger(const struct frost *f, pid_t pid, struct crcore_error *err)
{
	crcore_fail_at(err, pid, -1, "cgroup %s", f->path);
	crcore_advise(err, "thaw that group and freeze one that has only the tree, or save the tree "
	              "that holds process %d too", pid);
	return crcore_fail(err, -ENOTSUP, "it is frozen, and to save the tree it must be thawed for a "
	                   "moment, but process %d in it does not belong to the tree", pid);
}

static int check_frozen(struct cg *cg, struct crcore_error *err)
{
	for (unsigned i = 0; i < cg->nfrosts; i++) {
		const struct frost *f = &cg->frosts[i];
		pid_t pid = f->was ? find_stranger(cg, f->h, f->path) : 0;
		if (pid)
			return refuse_stranger(f, pid, err);
	}
	return 0;
}

/* ---- a group to stop the tree by ---------------------------------------------------- */

/* Would we stop ourselves? Main, our parent, is where we are. */
static bool holds_us(const struct frost *f)
{
	return path_below(f->h->own, f->path);
}

static bool holds_all(const struct cg *cg, const struct frost *f)
{
	for (unsigned i = 0; i < cg->nsets; i++) {
		char at[PATH_MAX];
		size_t len = 0;
		const char *path = set_path(cg->sets[i], f->h, &len);
		if (!path || len >= sizeof(at))
			return false;
		memcpy(at, path, len);
		at[len] = '\0';
		if (!path_below(at, f->path))
			return false;
	}
	return cg->nsets;
}

/* The group of its own: the topmost that holds the tree and nothing else. */
static struct frost *find_own(struct cg *cg)
{
	struct frost *best = NULL;

	for (unsigned i = 0; i < cg->nfrosts; i++) {
		struct frost *f = &cg->frosts[i];
		if (f->was || holds_us(f) || !holds_all(cg, f) || find_stranger(cg, f->h, f->path))
			continue;
		if (!best || (best->h == f->h ? path_below(best->path, f->path) : f->h->v2))
			best = f;
	}
	return best;
}

/* --freeze-cgroup: a path of a mounted hierarchy, as a shell would have it. */
static int find_named(struct cg *cg, struct crcore_error *err)
{
	const char *name = cg->freeze;
	struct hierarchy *best = NULL;
	size_t len = strlen(name), n;
	int r;

	crcore_fail_at(err, -1, -1, "%s", name);
	while (len > 1 && name[len - 1] == '/')
		len--;
	for (unsigned i = 0; i < cg->nhier; i++) {
		struct hierarchy *h = &cg->hier[i];
		if (h->mount && path_below(name, h->mount) &&
		    (!best || strlen(h->mount) > strlen(best->mount)))
			best = h;
	}
	n = best ? strlen(best->mount) : 0;
	if (!best || !best->freezer || len <= n) {
		crcore_advise(err, "name a group with a freezer, e.g. /sys/fs/cgroup/freezer/GROUP");
		return crcore_fail(err, -EINVAL, "no group of a mounted hierarchy with a freezer");
	}
	if ((r = add_chain(cg, best, name + n, len - n)) < 0)
		return crcore_fail(err, r, "cannot be looked at: %s", strerror(-r));
	for (unsigned i = 0; i < cg->nfrosts; i++)
		if (cg->frosts[i].h == best && strlen(cg->frosts[i].path) == len - n &&
		    !strncmp(cg->frosts[i].path, name + n, len - n))
			cg->tool = &cg->frosts[i];
	if (!cg->tool)
		return crcore_fail(err, -ENOENT, "there is no such group");
	if (holds_us(cg->tool)) {
		cg->tool = NULL;
		crcore_advise(err, "run crcore outside of it");
		return crcore_fail(err, -EDEADLK, "crcore itself is in that group");
	}
	return 0;
}

/* What could be seen but not made again. */
static int check_mounted(struct cg *cg, struct crcore_error *err)
{
	for (unsigned i = 0; cg->manage != MANAGE_IGNORE && i < cg->nsets; i++)
		for (unsigned k = 0; !cg->sets[i]->own && k < cg->nhier; k++) {
			const struct hierarchy *h = &cg->hier[k];
			size_t len = 0;
			const char *path = set_path(cg->sets[i], h, &len);
			if (!path || h->mount || (len == strlen(h->own) && !memcmp(path, h->own, len)))
				continue;
			crcore_fail_at(err, cg->root, -1, "cgroup %.*s", (int)len, path);
			crcore_advise(err, "mount it, or use --manage-cgroups=ignore");
			return crcore_fail(err, -ENODEV, "the hierarchy %s of control groups is not mounted "
			                   "here, so this group cannot be saved", h->v2 ? "version 2" : h->key);
		}
	return 0;
}

int pause_observe(struct cg *cg, struct crcore_error *err)
{
	bool frozen = false;
	int r;

	frosts_free(cg);
	if ((r = members_read(cg, err)) < 0)
		return r;
	if (!members_elsewhere(cg) && !*cg->freeze)
		return 0;
	if ((r = mounts_find(cg, err)) < 0 || (r = check_mounted(cg, err)) < 0)
		return r;
	if ((r = find_frosts(cg)) < 0)
		return crcore_fail(err, r, "cannot see whether the tree is frozen: %s", strerror(-r));
	if ((r = check_frozen(cg, err)) < 0)
		return r;
	for (unsigned i = 0; i < cg->nfrosts; i++)
		frozen |= cg->frosts[i].was;
	if (*cg->freeze)
		return find_named(cg, err);
	cg->tool = frozen ? NULL : find_own(cg);
	return 0;
}
