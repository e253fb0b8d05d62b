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

/* The directories that are searched, most wanted first, separated by ':'. */
static void search_path(const char *self, char *ret, size_t len)
{
	const char *env = secure_getenv("CRCORE_PLUGIN_PATH");
	char exe[PATH_MAX];
	char build[PATH_MAX + 16] = "";

	if (*self) { /* BUILD/core/crcore: BUILD/plugins */
		snprintf(exe, sizeof(exe), "%s", self);
		char *dir = dirname(exe);
		char *base = strrchr(dir, '/');

		if (base && !strcmp(base, "/core")) {
			*base = 0;
			snprintf(build, sizeof(build), "%s/plugins", dir);
			if (access(build, F_OK) < 0)
				build[0] = 0;
		}
	}
	snprintf(ret, len, "%s%s%s%s%s", env ? env : "", env && *env ? ":" : "", build,
	         *build ? ":" : "", CRCORE_PLUGIN_DIR);
}

/* DIR/NAME.so, or DIR/NAME/NAME.so as a build tree has it. */
static char *try_dir(const char *dir, size_t dirlen, const char *name)
{
	char path[PATH_MAX];

	if (!dirlen)
		return NULL;
	snprintf(path, sizeof(path), "%.*s/%s.so", (int)dirlen, dir, name);
	if (access(path, F_OK) == 0)
		return realpath(path, NULL);
	snprintf(path, sizeof(path), "%.*s/%s/%s.so", (int)dirlen, dir, name, name);
	return access(path, F_OK) == 0 ? realpath(path, NULL) : NULL;
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
	crcore_advise(err, "check the name in the policy, install the plugin, or set CRCORE_PLUGIN_PATH");
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
	search_path(path, f->dirs, sizeof(f->dirs));
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
		return crcore_fail(err, -ENOMEM, "out of memory");
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
