/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: records of the groups in which the tree is, of those above and below
 * them, and of who is where. Where crcore is itself nothing is said of a group:
 * there the tree will be wherever the restore is run.
 */
#include "cgroup-freezer.h"

#include <sys/stat.h>
#include "settings.h"

#define MAX_GROUPS 4096
#define MAX_VALUE (64 << 10)
#define MAX_SET 64

struct saved {
	struct hierarchy *h;
	char *path;
	bool member;        /* a thread of the tree is in it */
	bool inner;         /* it, or one above it, is the top of the tree's groups */
};

struct saving {
	struct cg *cg;
	struct hierarchy *h;
	struct saved *v;
	unsigned n;
};

/* ---- which groups -------------------------------------------------------------------- */

static unsigned find(const struct saving *s, const struct hierarchy *h, const char *path,
                     size_t len)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i].h == h && strlen(s->v[i].path) == len && !memcmp(s->v[i].path, path, len))
			return i + 1;
	return 0;
}

/* Adds a group after those above it. Returns its id. */
static int add(struct saving *s, struct hierarchy *h, const char *path, size_t len)
{
	size_t up = len;
	int r;

	if (!len) /* above the root, or above one below the root: the root needs no record */
		return 0;
	if ((r = (int)find(s, h, path, len)))
		return r;
	while (path[--up] != '/')
		;
	if ((r = add(s, h, path, up)) < 0)
		return r;
	if (s->n == MAX_GROUPS)
		return -E2BIG;
	if (!GROW(s->v, s->n))
		return -ENOMEM;
	s->v[s->n] = (struct saved){ .h = h, .path = strndup(path, len) };
	if (!s->v[s->n].path)
		return -ENOMEM;
	return (int)++s->n;
}

static int add_below(void *arg, const char *path)
{
	struct saving *s = arg;
	int r = add(s, s->h, path, strlen(path));

	return r < 0 ? r : 0;
}

/* Length of the path that all of the tree's groups of a hierarchy are below. */
static size_t common(const struct saving *s, const struct hierarchy *h, const char **ret)
{
	size_t len = 0;
	const char *first = NULL;

	for (unsigned i = 0; i < s->n; i++) {
		const char *p = s->v[i].path;
		size_t n = 0, end = 0;
		if (s->v[i].h != h || !s->v[i].member)
			continue;
		if (!first) {
			first = p;
			len = strlen(p);
			continue;
		}
		for (; n <= len; n++) { /* up to the last component that is the same */
			if ((n == len || first[n] == '/') && (p[n] == '/' || p[n] == '\0'))
				end = n;
			if (n == len || first[n] != p[n])
				break;
		}
		len = end;
	}
	*ret = first;
	return len;
}

/* The groups below the top are the tree's own, whether anybody is in them or not. */
static int add_inner(struct saving *s)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->cg->nhier; i++) {
		const char *first;
		char top[PATH_MAX];
		s->h = &s->cg->hier[i];
		size_t len = common(s, s->h, &first);
		if (len <= 1 || len >= sizeof(top))
			continue;
		memcpy(top, first, len);
		top[len] = '\0';
		r = groups_below(s->h, top, add_below, s);
		for (unsigned k = 0; k < s->n; k++)
			s->v[k].inner |= s->v[k].h == s->h && path_below(s->v[k].path, top);
	}
	return r;
}

/* The groups of a set, where they are not crcore's. */
static int set_groups(struct saving *s, const struct set *set, uint32_t *ids, unsigned *n)
{
	int r;

	*n = 0;
	for (unsigned i = 0; i < s->cg->nhier; i++) {
		struct hierarchy *h = &s->cg->hier[i];
		size_t len = 0;
		const char *path = set_path(set, h, &len);
		if (!path || (len == strlen(h->own) && !memcmp(path, h->own, len)))
			continue;
		if ((r = add(s, h, path, len)) < 0)
			return r;
		if (r == 0 || *n == MAX_SET)
			return -E2BIG;
		s->v[r - 1].member = true;
		ids[(*n)++] = (uint32_t)r;
	}
	return 0;
}

/* ---- records ------------------------------------------------------------------------------ */

static int take_file(int dir, const char *name, CgroupFreezer__Group *rec)
{
	struct stat st;
	char *value = NULL;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	CgroupFreezer__File *f = malloc(sizeof(*f));
	void *more = realloc(rec->files, (rec->n_files + 1) * sizeof(*rec->files));
	if (more)
		rec->files = more;
	if (!f || !more) {
		free(f);
		return -ENOMEM;
	}
	cgroup_freezer__file__init(f);
	rec->files[rec->n_files++] = f;
	if (!(f->name = strdup(name)))
		return -ENOMEM;
	f->mode = st.st_mode & 07777;
	f->uid = st.st_uid;
	f->gid = st.st_gid;
	/* One that cannot be read is none that we could write: e.g. for a group of threads. */
	if (setting_find(name) && read_whole(dir, name, &value) == 0) {
		f->value.data = (uint8_t *)value;
		f->value.len = strlen(value);
		if (f->value.len > MAX_VALUE)
			return -E2BIG;
	}
	return 0;
}

static int take_files(const struct saved *g, CgroupFreezer__Group *rec)
{
	int fd = group_open(g->h, g->path, NULL, O_RDONLY | O_DIRECTORY), r = 0;
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct stat st;

	if (!dir)
		return fd < 0 ? fd : -ENOMEM;
	if (fstat(fd, &st) < 0)
		return -errno;
	rec->mode = st.st_mode & 07777;
	rec->uid = st.st_uid;
	rec->gid = st.st_gid;
	for (struct dirent *e; r == 0 && (e = readdir(dir));)
		if (e->d_type == DT_REG)
			r = take_file(fd, e->d_name, rec);
	return r;
}

/* As it was before we came; of groups without tasks it is as it is. */
static bool was_frozen(const struct cg *cg, const struct saved *g)
{
	for (unsigned i = 0; i < cg->nfrosts; i++)
		if (cg->frosts[i].h == g->h && !strcmp(cg->frosts[i].path, g->path))
			return cg->frosts[i].was;
	return g->h->freezer && g->path[1] && frost_state(g->h, g->path) == 1;
}

static int put_group(struct saving *s, unsigned i, struct crcore_error *err)
{
	const struct saved *g = &s->v[i];
	CgroupFreezer__Group *rec = malloc(sizeof(*rec));
	char type[32] = "";

	if (!rec)
		return crcore_no_memory(err);
	cgroup_freezer__group__init(rec);
	rec->id = i + 1;
	rec->hierarchy = strdup(g->h->key);
	rec->path = strdup(g->path);
	rec->outer = !g->inner;
	rec->frozen = was_frozen(s->cg, g);
	if (g->h->v2)
		group_read(g->h, g->path, "cgroup.type", type, sizeof(type));
	rec->threaded = !strcmp(type, "threaded\n");
	int r = !rec->hierarchy || !rec->path ? -ENOMEM : g->path[1] ? take_files(g, rec) : 0;
	if (r < 0) {
		crcore_fail_at(err, -1, -1, "cgroup %s%s", g->h->mount, g->path);
		r = crcore_fail(err, r, "cannot be read: %s", strerror(-r));
	} else {
		r = record_put(s->cg->host, s->cg->ctx, "group", &rec->base, err);
	}
	cgroup_freezer__group__free_unpacked(rec, NULL);
	return r;
}

static int put_member(struct saving *s, const struct member *m, pid_t tid, struct crcore_error *err)
{
	CgroupFreezer__Member rec = CGROUP_FREEZER__MEMBER__INIT;
	uint32_t ids[MAX_SET];
	unsigned n;
	int r = set_groups(s, m->set, ids, &n);

	if (r < 0)
		return crcore_fail(err, r, "cannot save its control groups: %s", strerror(-r));
	rec.pid = (uint32_t)m->pid;
	rec.tid = (uint32_t)tid;
	rec.n_groups = n;
	rec.groups = ids;
	return record_put(s->cg->host, s->cg->ctx, "member", &rec.base, err);
}

/* The first record of a process is for all of its threads, the others for one each. */
static int put_members(struct saving *s, struct crcore_error *err)
{
	const struct member *leader = NULL;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->cg->nmembers; i++) {
		const struct member *m = &s->cg->members[i];
		if (!leader || leader->pid != m->pid) {
			leader = m;
			if (!m->set->own)
				r = put_member(s, m, 0, err);
		} else if (m->set != leader->set) {
			r = put_member(s, m, m->tid, err);
		}
	}
	return r;
}

int groups_save(struct cg *cg, struct crcore_error *err)
{
	struct saving s = { .cg = cg };
	uint32_t ids[MAX_SET];
	unsigned n;
	int r;

	if (cg->manage == MANAGE_IGNORE)
		return 0;
	if ((r = members_read(cg, err)) < 0 || !members_elsewhere(cg))
		return r;
	if ((r = mounts_find(cg, err)) < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < cg->nsets; i++)
		r = cg->sets[i]->own ? 0 : set_groups(&s, cg->sets[i], ids, &n);
	if (r == 0)
		r = add_inner(&s);
	if (r < 0)
		crcore_fail(err, r, "cannot save the control groups: %s", strerror(-r));
	for (unsigned i = 0; r == 0 && i < s.n; i++)
		r = put_group(&s, i, err);
	if (r == 0)
		r = put_members(&s, err);
	for (unsigned i = 0; i < s.n; i++)
		free(s.v[i].path);
	free(s.v);
	return r;
}
