/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the patterns of `include`. A component with a wildcard is compared with
 * what is in the directory; no symlink is followed on the way, also not by
 * those without one. So glob(3) will not do.
 */
#include "tmpfiles.h"

#include <fnmatch.h>
#include <linux/openat2.h>

struct pattern {
	struct taking *k;
	const char *text;
	unsigned found;
};

static int descend(struct pattern *p, int dir, const char *so_far, const char *rest);

/* One name that fits the component: the last one is taken, another is entered. */
static int enter(struct pattern *p, int dir, const char *so_far, const char *name, const char *rest)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/%s", so_far, name) < 0)
		return crcore_no_memory(p->k->err);
	if (!*rest) {
		p->found++;
		return take_path(p->k, path);
	}
	cleanup_close int fd = place_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
	return fd < 0 ? 0 : descend(p, fd, path, rest);
}

static int descend(struct pattern *p, int dir, const char *so_far, const char *rest)
{
	size_t len = strcspn(rest, "/");
	cleanup_free char *want = strndup(rest, len);
	char **names = NULL;

	if (!want)
		return crcore_no_memory(p->k->err);
	rest += len + (rest[len] == '/');
	if (!want[strcspn(want, "*?[\\")])
		return faccessat(dir, want, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ? 0 :
		       enter(p, dir, so_far, want, rest);
	int r = place_list(dir, &names);
	if (r < 0)
		return place_fail(so_far, r, "cannot list it", p->k->err);
	for (char **name = names; *name && r == 0; name++)
		if (!fnmatch(want, *name, FNM_PERIOD))
			r = enter(p, dir, so_far, *name, rest);
	names_free(names);
	return r;
}

static int match_one(struct taking *k, const char *text)
{
	struct pattern p = { k, text, 0 };
	cleanup_free char *clean = strdup(text);
	size_t len = strlen(text);

	if (!clean)
		return crcore_no_memory(k->err);
	while (len > 1 && clean[len - 1] == '/')
		clean[--len] = '\0';
	if (!place_valid(clean)) {
		crcore_fail_at(k->err, -1, -1, "%s", text);
		crcore_advise(k->err, "give an absolute path without '.' and '..'");
		return crcore_fail(k->err, -EINVAL, "cannot be a file to include");
	}
	if (!clean[strcspn(clean, "*?[\\")])
		return take_path(k, clean);
	cleanup_close int root = place_open(k->t->root, ".", O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
	if (root < 0)
		return place_fail("/", root, "cannot open it", k->err);
	int r = descend(&p, root, "", clean + 1);
	if (r == 0 && !p.found)
		k->t->host->log(k->t->ctx, k->a ? 1 : 2, "nothing matches %s", text);
	return r;
}

int match_all(struct taking *k)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && k->t->include[i]; i++)
		r = match_one(k, k->t->include[i]);
	return r;
}
