/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the name of a plugin to a file that may be loaded. Loading a shared
 * object runs its code with the rights of crcore, usually root's, so a file
 * that another user could have written or replaced is refused here.
 */
#include <libgen.h>
#include "core/host/internal.h"
#include "core/util/util.h"

bool host_valid_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && !name[n] && n < sizeof(((struct crcore_error *)0)->plugin);
}

/* Another directory to be searched, without links, if it is there at all. */
static void add_dir(struct finder *f, const char *dir, size_t len)
{
	const size_t at = strlen(f->dirs);
	char path[PATH_MAX], real[PATH_MAX];

	if (!len || len >= sizeof(path))
		return;
	snprintf(path, sizeof(path), "%.*s", (int)len, dir);
	snprintf(f->dirs + at, sizeof(f->dirs) - at, "%s%s", at ? ":" : "",
	         realpath(path, real) ? real : path);
}

/* The most wanted first. */
static void search_path(struct finder *f, const char *self)
{
	const char *env = secure_getenv("CRCORE_PLUGIN_PATH");
	char exe[PATH_MAX], build[PATH_MAX + 16];

	f->dirs[0] = 0;
	for (size_t n; env && *env; env += n + (env[n] == ':')) {
		n = strcspn(env, ":");
		add_dir(f, env, n);
	}
	snprintf(exe, sizeof(exe), "%s", self);
	char *dir = dirname(exe), *base = strrchr(dir, '/');
	if (*self && base && !strcmp(base, "/core")) { /* BUILD/core/crcore: BUILD/plugins */
		*base = 0;
		snprintf(build, sizeof(build), "%s/plugins", dir);
		if (access(build, F_OK) == 0)
			add_dir(f, build, strlen(build));
	}
	add_dir(f, CRCORE_PLUGIN_DIR, strlen(CRCORE_PLUGIN_DIR));
}

static bool is_link(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 || S_ISLNK(st.st_mode);
}

/* DIR/NAME.so, or DIR/NAME/NAME.so as a build tree has it. The directory is no link. */
static char *try_dir(const char *dir, size_t dirlen, const char *name)
{
	char path[PATH_MAX], sub[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%.*s/%s.so", (int)dirlen, dir, name);
	if (lstat(path, &st) == 0)
		return S_ISLNK(st.st_mode) ? realpath(path, NULL) : strdup(path);
	snprintf(sub, sizeof(sub), "%.*s/%s", (int)dirlen, dir, name);
	snprintf(path, sizeof(path), "%.*s/%s/%s.so", (int)dirlen, dir, name, name);
	if (lstat(path, &st) < 0)
		return NULL;
	return is_link(sub) || S_ISLNK(st.st_mode) ? realpath(path, NULL) : strdup(path);
}

int host_find_file(const struct finder *f, const char *key, char **ret, struct crcore_error *err)
{
	if (strchr(key, '/')) {
		*ret = realpath(key, NULL);
		if (*ret)
			return 0;
		int rc = -errno;
		crcore_fail_at(err, -1, -1, "%s", key);
		crcore_fail(err, rc, "cannot be opened: %s", strerror(-rc));
		crcore_advise(err, "give the path of an existing plugin, or take it out of the policy");
		return rc;
	}
	if (!host_valid_name(key)) {
		crcore_advise(err, "names are up to 39 of a-z, 0-9 and '-'; a path has a '/' in it");
		return crcore_fail(err, -EINVAL, "\"%s\" is no plugin name", key);
	}
	for (const char *d = f->dirs; d; d = strchr(d, ':') ? strchr(d, ':') + 1 : NULL) {
		*ret = try_dir(d, strcspn(d, ":"), key);
		if (*ret)
			return 0;
	}
	crcore_advise(err, "check the name in the policy, install the plugin, or set "
	              "CRCORE_PLUGIN_PATH");
	return crcore_fail(err, -ENOENT, "there is no plugin %s.so in %s", key, f->dirs);
}

/* Cuts the last part off a path; false if it was "/". */
static bool cut(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || !path[1])
		return false;
	slash[slash == path] = 0; /* keep the '/' of the root */
	return true;
}

void finder_start(struct finder *f)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = 0;
	f->nself = 0;
	f->trusted[0] = 0;
	search_path(f, path);
	if (!path[0])
		return;
	do {
		if (stat(path, &f->self[f->nself]) == 0)
			f->nself++;
	} while (f->nself < ARRAY_SIZE(f->self) && cut(path));
}

/* NULL, or what is wrong with a file or a directory above it. */
static const char *mistrust(const struct finder *f, const struct stat *st)
{
	bool owner = st->st_uid == 0 || st->st_uid == geteuid();
	bool group = st->st_gid == 0 || st->st_gid == getegid();

	for (unsigned i = 0; i < f->nself; i++) {
		if (st->st_dev == f->self[i].st_dev && st->st_ino == f->self[i].st_ino)
			return NULL;
		owner |= st->st_uid == f->self[i].st_uid;
		group |= st->st_gid == f->self[i].st_gid;
	}
	if (!owner)
		return "belongs to another user";
	if (S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX))
		return NULL; /* as /tmp: others cannot replace what is in it */
	if (st->st_mode & S_IWOTH)
		return "is writable by everybody";
	if ((st->st_mode & S_IWGRP) && !group)
		return "is writable by another group";
	return NULL;
}

/* Is it above the last file that was trusted? Then it has been looked at. */
static bool is_trusted(const struct finder *f, const char *dir)
{
	size_t n = strlen(dir);

	return f->trusted[0] && (n == 1 || (!strncmp(dir, f->trusted, n) && f->trusted[n] == '/'));
}

int host_trust_file(struct finder *f, const char *path, struct crcore_error *err)
{
	cleanup_free char *part = strdup(path);
	struct stat st;
	bool file = true;

	if (!part)
		return crcore_no_memory(err);
	do {
		if (!file && is_trusted(f, part))
			break;
		if (stat(part, &st) < 0) {
			int rc = -errno;
			crcore_fail_at(err, -1, -1, "%s", part);
			return crcore_fail(err, rc, "cannot be looked at: %s", strerror(-rc));
		}
		const char *why = file && !S_ISREG(st.st_mode) ? "is not a file" : mistrust(f, &st);

		if (why) {
			crcore_fail_at(err, -1, -1, "%s", part);
			crcore_advise(err, "a plugin runs with crcore's rights: make it and the "
			              "directories above it root's (or yours) and writable by nobody else");
			return crcore_fail(err, -EPERM, "%s, so the plugin %s is not loaded", why,
			                   strrchr(path, '/') + 1);
		}
		file = false;
	} while (cut(part));
	snprintf(f->trusted, sizeof(f->trusted), "%s", path);
	return 0;
}
