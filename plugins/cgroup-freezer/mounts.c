/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchies: what /proc/self/cgroup lists, and where each is mounted here. A
 * hierarchy that is mounted in part only (a bind mount of a group) is of no use to
 * us. Groups are reached below a descriptor of the mount, so it does not matter
 * in which mount namespace we are later. Most trees live in crcore's groups, for which
 * nothing is looked at: until then two descriptors keep the way to it.
 */
#include "cgroup-freezer.h"

#define DEPTH 64 /* of groups in groups */

int group_open(const struct hierarchy *h, const char *path, const char *file, int flags)
{
	char name[PATH_MAX];
	const char *rest = path[1] ? path + 1 : ".";
	int n = snprintf(name, sizeof(name), "%s%s%s", rest, file ? "/" : "", file ? file : "");

	if (h->dir < 0)
		return -ENODEV;
	if (n >= (int)sizeof(name))
		return -ENAMETOOLONG;
	int fd = openat(h->dir, name, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int group_read(const struct hierarchy *h, const char *path, const char *file, char *buf, size_t len)
{
	cleanup_close int fd = group_open(h, path, file, O_RDONLY);
	ssize_t n = fd < 0 ? fd : read(fd, buf, len - 1);

	if (n < 0)
		return fd < 0 ? fd : -errno;
	buf[n] = '\0';
	return (int)n;
}

int group_write(const struct hierarchy *h, const char *path, const char *file, const char *text)
{
	cleanup_close int fd = group_open(h, path, file, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

bool group_exists(const struct hierarchy *h, const char *path)
{
	cleanup_close int fd = group_open(h, path, NULL, O_PATH | O_DIRECTORY);

	return fd >= 0;
}

bool path_below(const char *path, const char *at)
{
	size_t n = strlen(at);

	if (n == 1) /* the root */
		return true;
	return !strncmp(path, at, n) && (path[n] == '\0' || path[n] == '/');
}

static int walk(const struct hierarchy *h, const char *path, unsigned depth,
                int (*fn)(void *arg, const char *path), void *arg)
{
	int fd = group_open(h, path, NULL, O_RDONLY | O_DIRECTORY), r = 0;
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return fd == -ENOENT ? 0 : fd < 0 ? fd : -ENOMEM;
	for (struct dirent *e; r == 0 && (e = readdir(dir));) {
		char below[PATH_MAX];
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path[1] ? path : "", e->d_name) >=
		    (int)sizeof(below) || depth == DEPTH)
			return -ENAMETOOLONG;
		if ((r = fn(arg, below)) == 0)
			r = walk(h, below, depth + 1, fn, arg);
	}
	return r;
}

int groups_below(const struct hierarchy *h, const char *path,
                 int (*fn)(void *arg, const char *path), void *arg)
{
	return walk(h, path, 0, fn, arg);
}

int group_processes(const struct hierarchy *h, const char *path, int (*fn)(void *arg, pid_t),
                    void *arg)
{
	cleanup_close int dir = group_open(h, path, NULL, O_PATH | O_DIRECTORY);
	cleanup_free char *text = NULL;
	int r = dir < 0 ? dir : read_whole(dir, "cgroup.procs", &text);

	if (r == -EOPNOTSUPP) /* threaded: its processes are its threaded domain's */
		return 0;
	for (char *p = text, *end; r == 0; p = end) {
		pid_t pid = (pid_t)strtol(p, &end, 10);
		if (end == p)
			break;
		if (pid) /* 0: of another pid namespace */
			r = fn(arg, pid);
	}
	return r;
}

/* -- hierarchies --------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word, size_t len)
{
	for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
		if (!strncmp(p, word, len) && (p[len] == ',' || p[len] == '\0'))
			return true;
	return false;
}

/* Are all controllers (or the name) of the key among the mount's options? */
static bool key_fits(const char *key, const char *options)
{
	for (const char *p = key; *p;) {
		size_t len = strcspn(p, ",");
		if (!has_word(options, p, len))
			return false;
		p += len + (p[len] == ',');
	}
	return *key;
}

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++)
		if (*s == '\\' && isdigit((unsigned char)s[1]) && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	*to = '\0';
}

static void take_mount(struct cg *cg, char *line)
{
	char *end = strstr(line, " - "), *root, *mount, *type, *options, *save = NULL;

	if (!end)
		return;
	*end = '\0';
	strtok_r(line, " ", &save);
	for (int i = 0; i < 2; i++)
		strtok_r(NULL, " ", &save);
	root = strtok_r(NULL, " ", &save);
	mount = strtok_r(NULL, " ", &save);
	type = strtok_r(end + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " ", &save);
	if (!root || !mount || !options || strncmp(type, "cgroup", 6) || strcmp(root, "/"))
		return;
	unescape(mount);
	for (unsigned i = 0; i < cg->nhier; i++) {
		struct hierarchy *h = &cg->hier[i];
		bool fits = h->v2 ? !strcmp(type, "cgroup2") :
		            !strcmp(type, "cgroup") && key_fits(h->key, options);
		if (!fits || h->mount)
			continue;
		h->dir = openat(cg->slash, mount[1] ? mount + 1 : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		h->mount = h->dir < 0 ? NULL : strdup(mount);
	}
}

static int add_hierarchy(struct cg *cg, char *line)
{
	char *key = strchr(line, ':'), *path = key ? strchr(key + 1, ':') : NULL;

	if (!path)
		return 0;
	*path++ = '\0';
	if (!GROW(cg->hier, cg->nhier))
		return -ENOMEM;
	struct hierarchy *h = &cg->hier[cg->nhier];
	*h = (struct hierarchy){ .key = strdup(key + 1), .own = strdup(path), .dir = -1 };
	if (!h->key || !h->own)
		return -ENOMEM;
	h->v2 = !h->key[0];
	h->freezer = h->v2 || has_word(h->key, "freezer", strlen("freezer"));
	cg->nhier++;
	return 0;
}

int mounts_open(struct cg *cg, struct crcore_error *err)
{
	cg->mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	cg->slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cg->mountinfo < 0 || cg->slash < 0)
		return crcore_fail(err, -errno, "cannot see what is mounted: %s", strerror(errno));
	return 0;
}

int mounts_find(struct cg *cg, struct crcore_error *err)
{
	cleanup_free char *text = NULL, *mounts = NULL;
	char *save = NULL;
	unsigned reads;
	int r = read_whole(AT_FDCWD, "/proc/self/cgroup", &text);

	if (cg->nhier || r == -ENOENT) /* known already; a kernel without */
		return 0;
	for (char *l = r ? NULL : strtok_r(text, "\n", &save); r == 0 && l;
	     l = strtok_r(NULL, "\n", &save))
		r = add_hierarchy(cg, l);
	if (r == 0)
		r = read_opened(cg->mountinfo, &mounts, &reads);
	if (r < 0)
		return crcore_fail(err, r, "cannot find out about control groups: %s", strerror(-r));
	for (char *l = mounts, *next; l && *l; l = next) {
		if ((next = strchr(l, '\n')))
			*next++ = '\0';
		take_mount(cg, l);
	}
	return 0;
}

void mounts_free(struct cg *cg)
{
	for (unsigned i = 0; i < cg->nhier; i++) {
		free(cg->hier[i].key);
		free(cg->hier[i].mount);
		free(cg->hier[i].own);
		if (cg->hier[i].dir >= 0)
			close(cg->hier[i].dir);
	}
	free(cg->hier);
	if (cg->mountinfo >= 0)
		close(cg->mountinfo);
	if (cg->slash >= 0)
		close(cg->slash);
}

struct hierarchy *hierarchy_find(struct cg *cg, const char *key, size_t len)
{
	for (unsigned i = 0; i < cg->nhier; i++)
		if (strlen(cg->hier[i].key) == len && !memcmp(cg->hier[i].key, key, len))
			return &cg->hier[i];
	return NULL;
}
